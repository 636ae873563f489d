#include "common/version.h"

#include <charconv>

namespace everspan {

Result<Version> Version::parse(std::string_view text) {
  Version version;
  const auto bad = [&] {
    return fail("bad_version", "A version is major.minor.patch, as in 0.2.0");
  };
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  std::uint32_t* const parts[] = {&version.major, &version.minor, &version.patch};
  for (int i = 0; i < 3; ++i) {
    if (i > 0 && (at == end || *at++ != '.')) return bad();
    const auto [after, error] = std::from_chars(at, end, *parts[i]);
    if (error != std::errc{} || after == at || *parts[i] > 999'999) return bad();
    at = after;
  }
  if (at != end) {
    if (*at++ != '-' || at == end || end - at > 32) return bad();
    for (const char* c = at; c != end; ++c)
      if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '.')) return bad();
    version.word.assign(at, end);
  }
  return version;
}

std::string Version::text() const {
  std::string out =
      std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
  if (!word.empty()) out += "-" + word;
  return out;
}

std::strong_ordering Version::operator<=>(const Version& other) const {
  if (const auto c = major <=> other.major; c != 0) return c;
  if (const auto c = minor <=> other.minor; c != 0) return c;
  if (const auto c = patch <=> other.patch; c != 0) return c;
  if (word.empty() != other.word.empty())
    return word.empty() ? std::strong_ordering::greater : std::strong_ordering::less;
  return word <=> other.word;
}

std::string_view program_version() {
  return EVERSPAN_VERSION;
}

}  // namespace everspan
