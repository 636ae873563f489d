#include "console/notices.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

#include "common/utf8.h"

namespace everspan::console {

Notices::Notices(int fd) : fd_(fd), terminal_(isatty(fd) != 0) {}

void Notices::say(const std::string& text, bool raw) const {
  if (terminal_) write_line((raw ? "\r\neverspan: " : "everspan: ") + text + (raw ? "\r\n" : "\n"));
}

void Notices::site_says(const std::string& text, bool raw) {
  constexpr int kLinesMax = 20;
  constexpr std::size_t kCharactersMax = 500;  // Of a line.
  if (text == said_) return;                   // Each new leg hears it again.
  said_ = text;
  std::string_view rest = said_;
  for (int lines = 0; !rest.empty() && lines < kLinesMax; ++lines) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    say("[site] " + plain_text(rest.substr(0, end), kCharactersMax), raw);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
}

void Notices::error(const std::string& text) const {
  write_line((terminal_ ? "\reverspan: " : "everspan: ") + text + (terminal_ ? "\r\n" : "\n"));
}

void Notices::write_line(const std::string& line) const {
  for (std::size_t put = 0; put < line.size();) {
    const ssize_t n = write(fd_, line.data() + put, line.size() - put);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // Nobody to tell.
    put += static_cast<std::size_t>(n);
  }
}

int number_of_signal(const std::string& name) {
  for (int number = 1; number < NSIG; ++number) {
    const char* known = sigabbrev_np(number);
    if (known != nullptr && name == known) return number;
  }
  return 0;
}

}  // namespace everspan::console
