#include "console/core/escape.h"

namespace everspan::console {

EscapeFilter::Wish EscapeFilter::filter(std::string& bytes) {
  if (escape_ == 0) return Wish::none;
  std::string out;
  Wish wish = Wish::none;
  for (const char c : bytes) {
    if (held_) {
      held_ = false;
      if (c == '.') {
        bytes = out;
        return Wish::quit;
      }
      if (c == '?') {
        wish = Wish::help;
        continue;
      }
      out += escape_;
      if (c == escape_) {
        line_start_ = false;
        continue;
      }
    } else if (line_start_ && c == escape_) {
      held_ = true;
      continue;
    }
    out += c;
    line_start_ = c == '\r' || c == '\n';
  }
  bytes = out;
  return wish;
}

}  // namespace everspan::console
