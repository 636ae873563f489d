// Words for the person at the console, on standard error: notices only where that is a terminal.
#pragma once
#include <string>

namespace everspan::console {

class Notices {
 public:
  explicit Notices(int fd);
  void say(const std::string& text, bool raw) const;  // `raw`: a line needs its carriage return.
  // What the site says: each line once, until it says something else. Foreign text.
  void site_says(const std::string& text, bool raw);
  void error(const std::string& text) const;  // Always.

 private:
  void write_line(const std::string& line) const;
  int fd_;
  bool terminal_;
  std::string said_;  // By the site, last.
};

// Number of "INT", "TERM", ...; 0: unknown.
[[nodiscard]] int number_of_signal(const std::string& name);

}  // namespace everspan::console
