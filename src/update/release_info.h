// What a site program says about itself, inside its own file: the ranges and levels that go into
// its package's manifest. `everspan-depot build-package` reads it there without running the
// program, so that a package cannot say something else than the program does. Pure.
//
//   everspan release info 1: {"wire":{"min":1,"max":2},"log":{"format":1,"feature_level":2}}\n
//
// Release 0.1.0 says nothing; it is kReleaseInfoSilent.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "common/result.h"

namespace everspan::update {

struct ReleaseInfo {
  std::uint32_t wire_min = 1;
  std::uint32_t wire_max = 1;
  std::uint32_t log_format = 1;
  std::uint32_t feature_level = 1;
  bool operator==(const ReleaseInfo&) const = default;
};
inline constexpr ReleaseInfo kReleaseInfoSilent{};

// The line above, as bytes for the program; ends with a line feed and zeros.
using ReleaseInfoText = std::array<char, 160>;
consteval ReleaseInfoText release_info_text(const ReleaseInfo& info) {
  ReleaseInfoText out{};
  std::size_t at = 0;
  const auto put = [&](std::string_view text) {
    for (const char c : text) out[at++] = c;
  };
  const auto number = [&](std::uint32_t value) {
    char digits[10]{};
    std::size_t count = 0;
    for (; value > 0 || count == 0; value /= 10)
      digits[count++] = static_cast<char>('0' + value % 10);
    while (count > 0) out[at++] = digits[--count];
  };
  put("everspan release ");  // In two parts, so that the reader's own copy is not found.
  put("info 1: {\"wire\":{\"min\":");
  number(info.wire_min);
  put(",\"max\":");
  number(info.wire_max);
  put("},\"log\":{\"format\":");
  number(info.log_format);
  put(",\"feature_level\":");
  number(info.feature_level);
  put("}}\n");
  return out;
}

// In the bytes of a program; nullopt: it says nothing. Code bad_request: it says it twice, or not
// in this form.
[[nodiscard]] Result<std::optional<ReleaseInfo>> find_release_info(std::string_view program);

}  // namespace everspan::update
