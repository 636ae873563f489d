// One direction of one session under load: what is sent, when, and what came of it. Both ends are
// in one process and on one thread, so a message's delay is measured with one clock.
//
// Every byte is a function of its place in the stream and of the stream, and every byte that comes
// is compared: a loss, a repetition or a change of order cannot pass.
#pragma once
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "common/time.h"

namespace everspan::bench {

inline constexpr std::size_t kPieceBytes = 64 * 1024;  // Most that payload() gives at a time.

// `size` bytes of the stream `salt` from `offset` on. Valid for ever.
[[nodiscard]] std::string_view payload(std::uint64_t salt, std::uint64_t offset, std::size_t size);

class Flow {
 public:
  Flow(std::uint64_t salt, std::size_t message_bytes)
      : salt_(salt), message_bytes_(message_bytes) {}

  [[nodiscard]] std::string_view next(std::size_t size) const {
    return payload(salt_, written_, size);
  }
  void wrote(std::size_t bytes) { written_ += bytes; }
  // A message was due and its writing begins now; its bytes may be taken later.
  void message_began(Instant now) {
    sent_at_.push_back(now);
    due_ += message_bytes_;
  }
  [[nodiscard]] std::size_t owed() const { return due_ > written_ ? due_ - written_ : 0; }

  // Compares and counts; notes how late each message is whose last byte this brings.
  void received(std::string_view bytes, Instant now);

  void begin_window() {
    worst_ = Duration{0};
    window_bytes_ = 0;
  }
  [[nodiscard]] Duration worst() const { return worst_; }
  [[nodiscard]] std::uint64_t window_bytes() const { return window_bytes_; }
  [[nodiscard]] std::uint64_t written() const { return written_; }
  [[nodiscard]] std::uint64_t received_bytes() const { return received_; }
  [[nodiscard]] std::uint64_t wrong_pieces() const { return wrong_; }
  // Counts what is under way too: a session that hangs at the end of a window is as late as that.
  void count_waiting(Instant now);

 private:
  std::uint64_t salt_;
  std::size_t message_bytes_;
  std::uint64_t written_ = 0;
  std::uint64_t due_ = 0;
  std::uint64_t received_ = 0;
  std::uint64_t delivered_messages_ = 0;
  std::uint64_t wrong_ = 0;
  std::uint64_t window_bytes_ = 0;
  Duration worst_{0};
  std::deque<Instant> sent_at_;  // Of messages that have not arrived whole.
};

}  // namespace everspan::bench
