// The numbered, self-describing messages that load processes exchange, and how a reader cuts them
// out of a byte stream that may arrive in any pieces.
//
//   "EVLD" | u32 size of all | u64 number | u64 offset in this stream | u8 kind | payload
//   (numbers big-endian; kind 0 data, 1 the last message of this direction)
#pragma once
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <string_view>

#include "load/evidence.h"

namespace load {

inline constexpr std::size_t kHeaderBytes = 25;
inline constexpr std::size_t kMessageBytesMax = 64 * 1024;
enum class Kind : std::uint8_t { data = 0, last = 1 };

// Writes one direction of one session. At most one message is under way: a stream that is not
// taken makes this side wait, as a person's program would.
class Sender {
 public:
  Sender(std::string session, std::string dir, std::uint64_t seed)
      : session_(std::move(session)), dir_(std::move(dir)), random_(seed) {}

  void make(Kind kind);
  // Writes what it can; false: the other side is gone. Records each message once it is written.
  bool write_to(int fd, Evidence& evidence);
  [[nodiscard]] bool idle() const { return at_ == message_.size(); }
  [[nodiscard]] std::uint64_t sent() const { return seq_; }
  [[nodiscard]] std::size_t random_below(std::size_t limit) { return random_() % limit; }

 private:
  std::string session_, dir_, message_;
  std::size_t at_ = 0;  // How much of message_ was written.
  std::uint64_t offset_ = 0, seq_ = 0;
  std::mt19937_64 random_;
};

class Receiver {
 public:
  Receiver(std::string session, std::string dir)
      : session_(std::move(session)), dir_(std::move(dir)) {}

  enum class Read { more, blocked, end };
  // One read call. Records every message that it completed, with the time after the call.
  Read read_from(int fd, Evidence& evidence);
  // At the end of the stream: what is left is no message.
  void finish(Evidence& evidence);
  [[nodiscard]] std::uint64_t received() const { return messages_; }
  [[nodiscard]] bool saw_last() const { return saw_last_; }

 private:
  void cut(Evidence& evidence, std::int64_t t_ns);
  void record(Evidence& evidence, std::size_t size, std::uint64_t seq, bool raw, std::int64_t t_ns);

  std::string session_, dir_, buffer_;
  std::uint64_t offset_ = 0, messages_ = 0;
  bool saw_last_ = false;
};

}  // namespace load
