// Which release this program is. Numbers are major.minor.patch[-word]; compared by number.
#pragma once
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/result.h"

namespace everspan {

struct Version {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  std::uint32_t patch = 0;
  std::string word;  // "dev" in 0.0.0-dev; a version with a word is older than the one without.

  static Result<Version> parse(std::string_view text);
  [[nodiscard]] std::string text() const;
  std::strong_ordering operator<=>(const Version& other) const;
  bool operator==(const Version&) const = default;
};

[[nodiscard]] std::string_view program_version();  // As built: "0.1.0".

}  // namespace everspan
