// Bytes that wait to be written. Empty ones hold no memory of their own: buffers go back to a pool
// of the thread, so that ten thousand idle links cost nothing and a busy one does not allocate.
#pragma once
#include <sys/uio.h>

#include <string>

namespace everspan::net::detail {

class OutputBuffer {
 public:
  OutputBuffer() = default;
  OutputBuffer(const OutputBuffer&) = delete;
  OutputBuffer& operator=(const OutputBuffer&) = delete;
  ~OutputBuffer() { clear(); }

  [[nodiscard]] std::size_t size() const { return bytes_.size() - head_; }
  [[nodiscard]] iovec front();
  std::string& tail();  // Append only.
  void consume(std::size_t bytes);
  void clear();

 private:
  std::string bytes_;
  std::size_t head_ = 0;
};

}  // namespace everspan::net::detail
