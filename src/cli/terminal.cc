#include "cli/terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "cli/core/text.h"
#include "net/fd.h"

namespace everspan::cli {
namespace {

constexpr std::size_t kAnswerBytesMax = 1024;

bool is_set(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

// Puts the terminal's echo back, also on an early return.
class NoEcho {
 public:
  explicit NoEcho(int fd) : fd_(fd) {
    if (tcgetattr(fd_, &before_) != 0) return;
    termios quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    active_ = tcsetattr(fd_, TCSAFLUSH, &quiet) == 0;
  }
  NoEcho(const NoEcho&) = delete;
  NoEcho& operator=(const NoEcho&) = delete;
  ~NoEcho() {
    if (active_) tcsetattr(fd_, TCSAFLUSH, &before_);
  }
  [[nodiscard]] bool active() const { return active_; }

 private:
  int fd_;
  termios before_{};
  bool active_ = false;
};

Result<net::Fd> open_terminal() {
  net::Fd terminal(open("/dev/tty", O_RDWR | O_CLOEXEC));
  if (!terminal) return fail("usage", "There is no terminal to ask on");
  return terminal;
}

Result<void> say(int fd, const std::string& text) {
  if (write(fd, text.data(), text.size()) < 0) return fail_errno("io", "Asking", errno);
  return {};
}

Result<std::string> read_line(int fd) {
  std::string out;
  for (;;) {
    char c = 0;
    const ssize_t got = read(fd, &c, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail("not_confirmed", "No answer was given");
    if (c == '\n') return out;
    out += c;
    if (out.size() > kAnswerBytesMax) return fail("usage", "The answer is too long");
  }
}

}  // namespace

Terminal::Terminal(bool no_color)
    : out_is_terminal_(isatty(STDOUT_FILENO) == 1),
      colors_(out_is_terminal_ && !no_color && !is_set("NO_COLOR")) {}

std::size_t Terminal::width() const {
  if (!out_is_terminal_) return 0;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string Terminal::state(std::string_view word) const {
  static constexpr std::string_view kGood[] = {"done",   "ok",    "online", "live",
                                               "active", "ready", "in sync"};
  static constexpr std::string_view kBad[] = {"failed", "rolled_back", "parked",
                                              "FAILED", "diverged",    "not in sync"};
  const std::string text = harmless(word);
  if (!colors_) return text;
  const bool good = std::ranges::find(kGood, word) != std::end(kGood);
  const bool bad = std::ranges::find(kBad, word) != std::end(kBad);
  return (good ? "\x1b[32m" : bad ? "\x1b[31m" : "\x1b[33m") + text + "\x1b[0m";
}

std::string Terminal::bold(std::string_view text) const {
  return colors_ ? "\x1b[1m" + std::string(text) + "\x1b[0m" : std::string(text);
}

void Terminal::print(std::string_view text) const {
  fwrite(text.data(), 1, text.size(), stdout);
  fflush(stdout);
}
void Terminal::print_line(std::string_view text) const {
  print(std::string(text) + "\n");
}
void Terminal::note(std::string_view text) const {
  fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
}

void Terminal::show_changing_line(const std::string& text) const {
  if (out_is_terminal_) print("\r\x1b[K" + fit(text, std::max<std::size_t>(width(), 20) - 1));
}
void Terminal::clear_changing_line() const {
  if (out_is_terminal_) print("\r\x1b[K");
}

Result<std::string> Terminal::ask(const std::string& question) {
  const auto terminal = open_terminal();
  if (!terminal) return fail(terminal);
  const auto asked = say(terminal->get(), question);
  if (!asked) return fail(asked);
  return read_line(terminal->get());
}

Result<std::string> Terminal::ask_password(const std::string& question) {
  const auto terminal = open_terminal();
  if (!terminal) return fail(terminal);
  const NoEcho quiet(terminal->get());
  if (!quiet.active()) return fail("usage", "The terminal cannot hide what is typed");
  const auto asked = say(terminal->get(), question);
  if (!asked) return fail(asked);
  auto answer = read_line(terminal->get());
  const auto broken = say(terminal->get(), "\n");
  if (!broken) return fail(broken);
  return answer;
}

}  // namespace everspan::cli
