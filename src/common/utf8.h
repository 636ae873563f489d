// Characters of UTF-8 text that came from elsewhere. Pure.
#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace everspan {

// Takes the character at the front of `rest`; nullopt where the bytes are not UTF-8 (cut, overlong,
// a surrogate, above U+10FFFF): nothing is taken then. `rest` is not empty.
[[nodiscard]] std::optional<char32_t> take_character(std::string_view& rest);

// False for what steers a terminal or turns text around: control characters, line and paragraph
// separators, marks of direction.
[[nodiscard]] bool is_plain(char32_t character);

// `text` with each character that is not plain, and each byte that is no UTF-8, as '?'. Cut at
// `characters_max`.
[[nodiscard]] std::string plain_text(std::string_view text, std::size_t characters_max);

}  // namespace everspan
