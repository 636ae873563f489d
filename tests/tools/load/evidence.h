// What a load process saw, as JSON lines (tests/tools/README.md). Links nothing of the product: it
// must be able to contradict it. One thread; buffered, so that writing evidence costs little.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace load {

std::int64_t monotonic_ns();  // CLOCK_MONOTONIC; the same clock for every process of a machine.
std::string sha256_hex(std::string_view bytes);

class Evidence {
 public:
  explicit Evidence(const std::string& path);  // Ends the process when it cannot be opened.
  ~Evidence() { flush(); }
  Evidence(const Evidence&) = delete;
  Evidence& operator=(const Evidence&) = delete;

  // One message that was written whole, or was cut out of what was read. `raw`: bytes in which no
  // message could be found.
  void bytes(std::string_view session, std::string_view dir, std::uint64_t offset,
             std::string_view what, std::uint64_t seq, bool raw, std::int64_t t_ns);
  // `extra` is ready JSON, as in "\"status\":0", or empty.
  void event(std::string_view session, std::string_view name, std::string_view extra);
  void flush();
  [[nodiscard]] bool due() const { return monotonic_ns() - flushed_ns_ > 1'000'000'000; }

 private:
  int fd_ = -1;
  std::string buffer_;
  std::int64_t flushed_ns_ = 0;
};

}  // namespace load
