#include "load/message.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace load {
namespace {
constexpr std::string_view kMagic = "EVLD";
// Most messages are small, as of people and their programs; one in 64 fills many TLS records.
constexpr std::size_t kSmallMin = 64, kSmallSpan = 1024, kLargeMin = 8 * 1024,
                      kLargeSpan = 16 * 1024;
constexpr std::size_t kLargeOneIn = 64;

void put(std::string& out, std::uint64_t value, int bytes) {
  for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) {
    out += static_cast<char>((value >> shift) & 0xff);
  }
}
std::uint64_t get(std::string_view bytes) {
  std::uint64_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}
}  // namespace

void Sender::make(Kind kind) {
  const std::size_t payload = random_below(kLargeOneIn) == 0 ? kLargeMin + random_below(kLargeSpan)
                                                             : kSmallMin + random_below(kSmallSpan);
  message_.clear();
  at_ = 0;
  message_ += kMagic;
  put(message_, kHeaderBytes + payload, 4);
  put(message_, seq_, 8);
  put(message_, offset_, 8);
  message_ += static_cast<char>(kind);
  while (message_.size() < kHeaderBytes + payload) put(message_, random_(), 8);
  message_.resize(kHeaderBytes + payload);
}

bool Sender::write_to(int fd, Evidence& evidence) {
  while (!idle()) {
    const ssize_t done = write(fd, message_.data() + at_, message_.size() - at_);
    const std::int64_t t_ns = monotonic_ns();
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return errno == EAGAIN;
    at_ += static_cast<std::size_t>(done);
    if (!idle()) continue;
    evidence.bytes(session_, dir_, offset_, message_, seq_, false, t_ns);
    offset_ += message_.size();
    ++seq_;
  }
  return true;
}

Receiver::Read Receiver::read_from(int fd, Evidence& evidence) {
  static thread_local std::string piece(kMessageBytesMax, '\0');
  const ssize_t got = read(fd, piece.data(), piece.size());
  const std::int64_t t_ns = monotonic_ns();
  if (got < 0) return errno == EAGAIN || errno == EINTR ? Read::blocked : Read::end;
  if (got == 0) return Read::end;
  buffer_.append(piece.data(), static_cast<std::size_t>(got));
  cut(evidence, t_ns);
  return Read::more;
}

void Receiver::cut(Evidence& evidence, std::int64_t t_ns) {
  for (;;) {
    // Bytes before the next beginning of a message are damage: recorded as such, never skipped.
    const std::size_t common = std::min(buffer_.size(), kMagic.size());
    if (buffer_.compare(0, common, kMagic, 0, common) != 0) {
      const std::size_t next = buffer_.find(kMagic, 1);
      const std::size_t keep = std::min(buffer_.size() - 1, kMagic.size() - 1);
      record(evidence, next == std::string::npos ? buffer_.size() - keep : next, 0, true, t_ns);
      if (next == std::string::npos) return;
      continue;
    }
    if (buffer_.size() < kHeaderBytes) return;
    const std::string_view view = buffer_;
    const std::size_t size = get(view.substr(4, 4));
    if (size < kHeaderBytes || size > kMessageBytesMax) {
      record(evidence, kMagic.size(), 0, true, t_ns);
      continue;
    }
    if (buffer_.size() < size) return;
    if (static_cast<Kind>(buffer_[24]) == Kind::last) saw_last_ = true;
    ++messages_;
    record(evidence, size, get(view.substr(8, 8)), false, t_ns);
  }
}

void Receiver::record(Evidence& evidence, std::size_t size, std::uint64_t seq, bool raw,
                      std::int64_t t_ns) {
  evidence.bytes(session_, dir_, offset_, std::string_view(buffer_).substr(0, size), seq, raw,
                 t_ns);
  buffer_.erase(0, size);
  offset_ += size;
}

void Receiver::finish(Evidence& evidence) {
  if (!buffer_.empty()) record(evidence, buffer_.size(), 0, true, monotonic_ns());
}

}  // namespace load
