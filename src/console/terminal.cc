#include "console/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

namespace everspan::console {

RawTerminal::RawTerminal(int fd) : fd_(fd) {
  termios now{};
  if (isatty(fd) != 0 && tcgetattr(fd, &now) == 0) before_ = now;
}

RawTerminal::~RawTerminal() {
  restore();
}

void RawTerminal::set() {
  if (!before_ || raw_) return;
  termios raw = *before_;
  cfmakeraw(&raw);
  raw_ = tcsetattr(fd_, TCSADRAIN, &raw) == 0;
}

void RawTerminal::restore() {
  if (!raw_) return;
  raw_ = false;
  tcsetattr(fd_, TCSADRAIN, &*before_);
}

WindowSize window_size(int fd) {
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {size.ws_col, size.ws_row};
}

}  // namespace everspan::console
