// An owned file descriptor. Closed with close(2), never shutdown(2): sockets here are often shared
// with another process (DESIGN section 2).
#pragma once
#include <utility>

namespace everspan::net {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~Fd() { reset(); }

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] explicit operator bool() const { return fd_ >= 0; }
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  [[nodiscard]] Fd duplicate() const;  // Close-on-exec. Ends the process when descriptors run out.
  void reset();

 private:
  int fd_ = -1;
};

}  // namespace everspan::net
