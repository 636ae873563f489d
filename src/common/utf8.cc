#include "common/utf8.h"

namespace everspan {

std::optional<char32_t> take_character(std::string_view& rest) {
  const auto first = static_cast<unsigned char>(rest[0]);
  const std::size_t size = first < 0x80             ? 1
                           : (first & 0xe0) == 0xc0 ? 2
                           : (first & 0xf0) == 0xe0 ? 3
                           : (first & 0xf8) == 0xf0 ? 4
                                                    : 0;
  if (size == 0 || rest.size() < size) return std::nullopt;
  char32_t character = size == 1 ? first : first & (0x7fU >> size);
  for (std::size_t i = 1; i < size; ++i) {
    const auto next = static_cast<unsigned char>(rest[i]);
    if ((next & 0xc0) != 0x80) return std::nullopt;
    character = character << 6 | (next & 0x3f);
  }
  constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (character < kLeast[size] || character > 0x10ffff ||
      (character >= 0xd800 && character <= 0xdfff))
    return std::nullopt;
  rest.remove_prefix(size);
  return character;
}

bool is_plain(char32_t c) {
  if (c < 0x20 || (c >= 0x7f && c <= 0x9f)) return false;
  return c != 0x061c && c != 0x200e && c != 0x200f && !(c >= 0x2028 && c <= 0x202e) &&
         !(c >= 0x2066 && c <= 0x2069) && c != 0xfeff;
}

std::string plain_text(std::string_view text, std::size_t characters_max) {
  std::string out;
  for (std::size_t count = 0; !text.empty() && count < characters_max; ++count) {
    const std::string_view before = text;
    const auto character = take_character(text);
    if (!character) text.remove_prefix(1);
    if (character && is_plain(*character))
      out += before.substr(0, before.size() - text.size());
    else
      out += '?';
  }
  return out;
}

}  // namespace everspan
