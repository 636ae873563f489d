// Text for terminals: foreign text made harmless, tables that fit, numbers and times for people.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "common/time.h"

namespace everspan::cli {

// Control characters (of ASCII, and U+0080..U+009F) and broken UTF-8 become '?': text of a peer
// must not steer the terminal.
[[nodiscard]] std::string harmless(std::string_view foreign);
// Characters of UTF-8 text, each counted as one column.
[[nodiscard]] std::size_t columns_of(std::string_view utf8);
// Cut to `columns`, the last one an ellipsis.
[[nodiscard]] std::string fit(std::string_view utf8, std::size_t columns);

enum class Align { left, right };
struct Column {
  std::string title;
  Align align = Align::left;
  bool may_shrink = false;  // Loses characters first when the table is too wide.
};
using Row = std::vector<std::string>;

// `width` 0: no limit. Cells are made harmless here. Rows shorter than the columns are filled.
[[nodiscard]] std::string table(const std::vector<Column>& columns, const std::vector<Row>& rows,
                                std::size_t width);

[[nodiscard]] std::string bytes_text(std::uint64_t bytes);                  // "1.4 MiB"
[[nodiscard]] std::string duration_text(std::chrono::milliseconds length);  // "0.4 s", "3 m 05 s"

// "30", "30s", "10m", "2h", "1d". Bare numbers are seconds. At most a year.
[[nodiscard]] Result<std::chrono::milliseconds> parse_duration(std::string_view text);

}  // namespace everspan::cli
