// The person's own terminal: raw while a session uses it, and put back however the program ends.
#pragma once
#include <termios.h>

#include <cstdint>
#include <optional>

namespace everspan::console {

class RawTerminal {
 public:
  explicit RawTerminal(int fd);  // Does nothing where `fd` is no terminal.
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  ~RawTerminal();
  void set();
  void restore();
  [[nodiscard]] bool is_raw() const { return raw_; }

 private:
  int fd_;
  std::optional<termios> before_;
  bool raw_ = false;
};

struct WindowSize {
  std::uint32_t columns = 80;
  std::uint32_t rows = 24;
  bool operator==(const WindowSize&) const = default;
};
[[nodiscard]] WindowSize window_size(int fd);

}  // namespace everspan::console
