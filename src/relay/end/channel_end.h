// One channel at one end: what is sent is kept until it may be forgotten, what comes is delivered
// once and in order (docs/decisions/2026-11-23-link-protocol.md). Pure: no clock, no I/O.
//
// A direction is a stream of numbers: its bytes from 0, then one number for FIN. In the ring:
//
//        base        recorded / acked      next          sent_max      end
//   freed |  kept, acknowledged | in flight  | to send again |  to send   |
//
// Invariants
//   C1  The ring holds [base, end) and never more than `ring_bytes`.
//   C2  base <= acked; if strict, base <= recorded too: a byte is forgotten only when the peer has
//       consumed it and the recorder holds it durably.
//   C3  base <= next <= sent_max <= end + 1; nothing is sent at or above the peer's window.
//   C4  Bytes are delivered in order, each number once, whatever comes twice, late or early.
//   C5  What waits to be consumed, and what came early, is below the window that was advertised.
//   C6  A peer that acknowledges what was not sent, sends above the window or behind FIN, or moves
//       FIN, is in error; nothing of such a frame is used.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "common/result.h"

namespace everspan::relay_end {

// Every receiver takes this much of a channel before it has said anything about it.
inline constexpr std::uint64_t kInitialWindowBytes = 64 * 1024;
inline constexpr std::size_t kEarlyPiecesMax = 1024;  // Small pieces cost more than their bytes.

struct ChannelLimits {
  std::size_t ring_bytes = 256 * 1024;    // 20 ms at 100 Mbit/s.
  std::size_t window_bytes = 256 * 1024;  // At least kInitialWindowBytes.
  bool strict = true;                     // The recorder is a third acknowledger.
};

struct Piece {
  std::uint64_t offset = 0;
  std::string_view payload;  // Into the ring: valid until the channel is changed.
  bool fin = false;
};

// All that a channel's next process must know. What came and was not consumed comes again.
struct ChannelState {
  std::string kept;  // From `base` on.
  bool finished = false;
  std::uint64_t base = 0;
  std::uint64_t sent_max = 0;
  std::uint64_t acked = 0;
  std::uint64_t recorded = 0;
  std::uint64_t consumed = 0;
  std::uint64_t advertised = 0;
  bool operator==(const ChannelState&) const = default;
};

class ChannelEnd {
 public:
  explicit ChannelEnd(const ChannelLimits& limits);
  ChannelEnd(const ChannelEnd&) = delete;
  ChannelEnd& operator=(const ChannelEnd&) = delete;
  virtual ~ChannelEnd() = default;

  // ---- Sending ----
  [[nodiscard]] std::size_t write(std::string_view bytes);  // How many were taken (C1).
  [[nodiscard]] std::size_t room() const;
  void finish();  // FIN behind the last byte; nothing is written after.
  [[nodiscard]] bool finished() const { return fin_; }

  // What may be sent now, at most `bytes_max` of payload. mark_sent() moves on.
  [[nodiscard]] std::optional<Piece> next_piece(std::size_t bytes_max) const;
  void mark_sent(const Piece& piece);

  [[nodiscard]] Result<void> on_ack(std::uint64_t received, std::uint64_t window_end);
  [[nodiscard]] Result<void> on_recorded(std::uint64_t durable);
  // The peer (again) has a leg and lacks everything from `received`.
  [[nodiscard]] Result<void> on_resume(std::uint64_t received, std::uint64_t window_end);
  // What was in flight may be lost: everything that is kept is sent again.
  void rewind();
  // Without an answer for long: the last byte sent, so that a receiver that lacks something before
  // it notices; or, where only the recorder is behind, everything that it lacks. nullopt: nothing
  // open.
  [[nodiscard]] std::optional<Piece> probe();

  [[nodiscard]] bool outstanding() const;  // Sent, and not yet forgotten.
  [[nodiscard]] bool drained() const;      // All that was written has been acknowledged (C2).
  [[nodiscard]] bool settled() const { return fin_ && drained(); }
  [[nodiscard]] std::uint64_t acked() const { return acked_; }
  [[nodiscard]] std::uint64_t recorded() const { return recorded_; }
  [[nodiscard]] std::uint64_t base() const { return base_; }
  [[nodiscard]] std::uint64_t written() const { return base_ + kept(); }
  [[nodiscard]] std::uint64_t sent_max() const { return sent_max_; }

  // ---- Receiving ----
  [[nodiscard]] Result<void> on_data(std::uint64_t offset, std::string_view payload, bool fin);
  [[nodiscard]] std::string_view readable() const;
  void consume(std::size_t bytes);
  [[nodiscard]] bool at_end() const;  // FIN came and everything before it was consumed.
  [[nodiscard]] bool has_hole() const { return !early_.empty() || fin_is_early(); }
  [[nodiscard]] bool ack_due() const;     // There is something to acknowledge,
  [[nodiscard]] bool ack_urgent() const;  // and the sender may soon have to wait for it.
  struct AckNumbers {
    std::uint64_t received = 0;
    std::uint64_t window_end = 0;
  };
  [[nodiscard]] AckNumbers take_ack();     // All below `received` was consumed.
  [[nodiscard]] AckNumbers take_resume();  // All below `received` is here, in order.
  [[nodiscard]] std::uint64_t consumed() const { return consumed_; }

  // ---- An end that goes on from what another process wrote down (a killed console) ----
  [[nodiscard]] ChannelState state() const;
  void restore(const ChannelState& state);  // A new channel only.

 protected:
  // The three decisions that the simulator lets misbehave.
  [[nodiscard]] virtual std::uint64_t forget_below() const;  // C2
  [[nodiscard]] virtual std::uint64_t send_again_from(std::uint64_t received) const;
  [[nodiscard]] virtual std::size_t already_here(std::uint64_t offset) const;  // C4

  [[nodiscard]] const ChannelLimits& limits() const { return limits_; }
  [[nodiscard]] std::uint64_t received() const { return consumed_ + waiting(); }

 private:
  [[nodiscard]] std::size_t kept() const { return ring_.size() - ring_head_; }
  [[nodiscard]] std::size_t waiting() const { return in_.size() - in_head_; }
  [[nodiscard]] bool fin_is_early() const { return fin_at_ && *fin_at_ > received(); }
  [[nodiscard]] std::uint64_t consumed_number() const { return consumed_ + (at_end() ? 1 : 0); }
  [[nodiscard]] Result<void> check_data(std::uint64_t offset, std::size_t size, bool fin) const;
  void keep_early(std::uint64_t offset, std::string_view payload);
  void absorb_early();
  void forget();

  ChannelLimits limits_;
  // Sending.
  std::string ring_;
  std::size_t ring_head_ = 0;
  bool fin_ = false;
  std::uint64_t base_ = 0;
  std::uint64_t next_ = 0;
  std::uint64_t sent_max_ = 0;
  std::uint64_t acked_ = 0;
  std::uint64_t recorded_ = 0;
  std::uint64_t peer_window_end_ = kInitialWindowBytes;
  // Receiving.
  std::string in_;
  std::size_t in_head_ = 0;
  std::uint64_t consumed_ = 0;
  std::optional<std::uint64_t> fin_at_;
  std::uint64_t advertised_ = kInitialWindowBytes;
  std::uint64_t ack_sent_ = 0;
  bool repeat_ack_ = false;
  bool window_told_ = false;  // The peer knows of more than the initial window.
  std::map<std::uint64_t, std::string> early_;
  std::size_t early_bytes_ = 0;
};

}  // namespace everspan::relay_end
