#include "update/release_info.h"

#include <string>

#include "update/core/json.h"

namespace everspan::update {
namespace {

constexpr std::size_t kLineBytesMax = 1000;

std::unexpected<Error> bad(const char* why) {
  return fail("bad_request", std::string("The program's release info ") + why,
              "No package was made");
}

bool take(const Json& object, std::string_view key, std::uint32_t& out) {
  const Json* member = object.find(key);
  const std::int64_t* number = member == nullptr ? nullptr : member->number();
  if (number == nullptr || *number < 1 || *number > 1'000'000) return false;
  out = static_cast<std::uint32_t>(*number);
  return true;
}

// Unknown members are ignored, so that later programs may say more.
Result<ReleaseInfo> parse_line(std::string_view line) {
  const auto json = parse_json(line);
  if (!json) return bad("cannot be read");
  const Json* wire = json->find("wire");
  const Json* log = json->find("log");
  ReleaseInfo info;
  if (wire == nullptr || log == nullptr || !take(*wire, "min", info.wire_min) ||
      !take(*wire, "max", info.wire_max) || !take(*log, "format", info.log_format) ||
      !take(*log, "feature_level", info.feature_level) || info.wire_min > info.wire_max)
    return bad("lacks a number");
  return info;
}

}  // namespace

Result<std::optional<ReleaseInfo>> find_release_info(std::string_view program) {
  const std::string mark = std::string("everspan release ") + "info 1: ";
  std::optional<ReleaseInfo> found;
  for (std::size_t at = program.find(mark); at != std::string_view::npos;
       at = program.find(mark, at + 1)) {
    const std::string_view rest = program.substr(at + mark.size(), kLineBytesMax);
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) return bad("has no end");
    const auto info = parse_line(rest.substr(0, end));
    if (!info) return fail(info);
    // Debug information may repeat it.
    if (found && *found != *info) return bad("is there twice, differently");
    found = *info;
  }
  return found;
}

}  // namespace everspan::update
