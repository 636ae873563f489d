#include "net/detail/output_buffer.h"

#include <utility>
#include <vector>

namespace everspan::net::detail {
namespace {

constexpr std::size_t kPooledMax = 32;
constexpr std::size_t kPooledBytesMax = 1024 * 1024;  // A larger one was an exception.
constexpr std::size_t kPooledBytesMin = 1024;         // Not worth keeping.

std::vector<std::string>& pool() {
  thread_local std::vector<std::string> buffers;
  return buffers;
}

}  // namespace

iovec OutputBuffer::front() {
  return {bytes_.data() + head_, bytes_.size() - head_};
}

std::string& OutputBuffer::tail() {
  if (bytes_.capacity() < kPooledBytesMin && bytes_.empty() && !pool().empty()) {
    bytes_ = std::move(pool().back());
    pool().pop_back();
  }
  // A backlog that never empties must not grow by what was written already.
  if (head_ > 0 && head_ >= bytes_.size() / 2) {
    bytes_.erase(0, head_);
    head_ = 0;
  }
  return bytes_;
}

void OutputBuffer::consume(std::size_t bytes) {
  head_ += bytes;
  if (head_ == bytes_.size()) clear();
}

void OutputBuffer::clear() {
  head_ = 0;
  bytes_.clear();
  const std::size_t capacity = bytes_.capacity();
  std::string taken = std::exchange(bytes_, {});
  if (capacity >= kPooledBytesMin && capacity <= kPooledBytesMax && pool().size() < kPooledMax) {
    pool().push_back(std::move(taken));
  }
}

}  // namespace everspan::net::detail
