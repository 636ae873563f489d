#include "cli/core/text.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace everspan::cli {
namespace {

constexpr std::string_view kEllipsis = "\xe2\x80\xa6";
constexpr std::string_view kGap = "  ";
constexpr std::size_t kShrunkColumns = 8;  // No column gets narrower than this to make room.

// Length of the character that begins at `at`; 0 for broken UTF-8 or a control character.
std::size_t character_bytes(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at);
  if (first < 0x80) return first < 0x20 || first == 0x7f ? 0 : 1;
  const std::size_t size = first >= 0xf0 && first < 0xf5   ? 4
                           : first >= 0xe0 && first < 0xf0 ? 3
                           : first >= 0xc2 && first < 0xe0 ? 2
                                                           : 0;
  if (size == 0 || at + size > text.size()) return 0;
  for (std::size_t i = 1; i < size; i++) {
    if ((byte(at + i) & 0xc0) != 0x80) return 0;
  }
  if (first == 0xc2 && byte(at + 1) < 0xa0) return 0;  // U+0080..U+009F
  if (first == 0xe0 && byte(at + 1) < 0xa0) return 0;  // Longer than needed.
  if (first == 0xf0 && byte(at + 1) < 0x90) return 0;
  return size;
}

std::string padded(const std::string& cell, std::size_t width, Align align, bool last) {
  const std::size_t columns = columns_of(cell);
  const std::string space(width > columns ? width - columns : 0, ' ');
  if (align == Align::right) return space + cell;
  return last ? cell : cell + space;
}

// Takes columns away from the widest that may shrink until the table fits or nothing is left to
// take.
void shrink(std::vector<std::size_t>& widths, const std::vector<Column>& columns,
            std::size_t width) {
  std::size_t total = kGap.size() * (widths.size() - 1);
  for (const std::size_t w : widths) total += w;
  while (total > width) {
    std::size_t widest = widths.size();
    for (std::size_t i = 0; i < widths.size(); i++) {
      if (!columns[i].may_shrink || widths[i] <= kShrunkColumns) continue;
      if (widest == widths.size() || widths[i] > widths[widest]) widest = i;
    }
    if (widest == widths.size()) return;
    widths[widest]--;
    total--;
  }
}

}  // namespace

std::string harmless(std::string_view foreign) {
  std::string out;
  out.reserve(foreign.size());
  for (std::size_t i = 0; i < foreign.size();) {
    const std::size_t size = character_bytes(foreign, i);
    if (size == 0) {
      out += '?';
      i++;
    } else {
      out += foreign.substr(i, size);
      i += size;
    }
  }
  return out;
}

std::size_t columns_of(std::string_view utf8) {
  return static_cast<std::size_t>(std::ranges::count_if(
      utf8, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string fit(std::string_view utf8, std::size_t columns) {
  if (columns_of(utf8) <= columns) return std::string(utf8);
  if (columns == 0) return {};
  std::size_t end = 0;
  for (std::size_t seen = 0; end < utf8.size(); end++) {
    const bool begins = (static_cast<unsigned char>(utf8[end]) & 0xc0) != 0x80;
    if (begins && seen++ == columns - 1) break;
  }
  return std::string(utf8.substr(0, end)) + std::string(kEllipsis);
}

std::string table(const std::vector<Column>& columns, const std::vector<Row>& rows,
                  std::size_t width) {
  std::vector<Row> cells;
  Row titles;
  for (const Column& column : columns) titles.push_back(column.title);
  cells.push_back(std::move(titles));
  for (const Row& row : rows) {
    Row clean;
    for (std::size_t i = 0; i < columns.size(); i++) {
      clean.push_back(i < row.size() ? harmless(row[i]) : std::string{});
    }
    cells.push_back(std::move(clean));
  }
  std::vector<std::size_t> widths(columns.size(), 0);
  for (const Row& row : cells) {
    for (std::size_t i = 0; i < row.size(); i++)
      widths[i] = std::max(widths[i], columns_of(row[i]));
  }
  if (width > 0 && !widths.empty()) shrink(widths, columns, width);
  std::string out;
  for (const Row& row : cells) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); i++) {
      if (i > 0) line += kGap;
      line += padded(fit(row[i], widths[i]), widths[i], columns[i].align, i + 1 == row.size());
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string bytes_text(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  auto value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    unit++;
  }
  char text[32];
  snprintf(text, sizeof text, "%.1f %s", value, kUnits[unit]);
  return text;
}

std::string duration_text(std::chrono::milliseconds length) {
  const long long ms = std::max<long long>(length.count(), 0);
  const long long seconds = ms / 1000;
  char text[48];
  if (seconds < 60) {
    snprintf(text, sizeof text, "%lld.%lld s", seconds, ms % 1000 / 100);
  } else if (seconds < 3600) {
    snprintf(text, sizeof text, "%lld m %02lld s", seconds / 60, seconds % 60);
  } else if (seconds < 86'400) {
    snprintf(text, sizeof text, "%lld h %02lld m", seconds / 3600, seconds / 60 % 60);
  } else {
    snprintf(text, sizeof text, "%lld d %02lld h", seconds / 86'400, seconds / 3600 % 24);
  }
  return text;
}

Result<std::chrono::milliseconds> parse_duration(std::string_view text) {
  constexpr std::int64_t kSecondsMax = 366LL * 86'400;
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), number);
  const std::string_view unit(end, static_cast<std::size_t>(text.end() - end));
  const std::int64_t factor = unit.empty() || unit == "s" ? 1
                              : unit == "m"               ? 60
                              : unit == "h"               ? 3600
                              : unit == "d"               ? 86'400
                                                          : 0;
  if (error != std::errc{} || factor == 0 || number < 0 || number > kSecondsMax / factor) {
    return fail("usage", "\"" + harmless(text) + "\" is not a time", "",
                "Write 30s, 10m, 2h or 1d");
  }
  return std::chrono::milliseconds(number * factor * 1000);
}

}  // namespace everspan::cli
