// How fast legs are asked to move. Pure: the time of each event comes in.
//
// Two bounds hold together: `per_second`, and how many moves may be under way. The second one finds
// out what the machines take, as a TCP sender does from its round trips (Vegas, Brakmo 1994): while
// a move takes about as long as the quickest so far, one more may be under way; when moves begin to
// wait for each other (here, at the other process, or at the ends), fewer. So a far end does not
// slow its neighbours down, and a busy machine is not asked for 400 handshakes a second. It is
// asked for kLeast of that, though: on one that stays busy, a move must come to its end.
//
// Invariants
//   M1  Never more than `per_second` moves in any second, but for the first kBurst.
//   M2  At least one move may always be under way, and kLeast of `per_second` are asked for
//       whatever becomes of them, so a move never stops by itself.
//   M3  Each asked() is followed by one ended(); a move that is asked for again is not a second
//       one.
#pragma once
#include <cstddef>
#include <optional>

#include "common/time.h"

namespace everspan::relay {

class MovePace {
 public:
  static constexpr double kBurst = 2;
  static constexpr double kWindowFirst = 2;
  static constexpr double kWindowMax = 256;
  static constexpr Duration kSlack = std::chrono::milliseconds(2);  // Of a scheduler, not of load.
  static constexpr double kLeast = 0.15;

  explicit MovePace(double per_second) : per_second_(per_second), window_(kWindowFirst) {}

  // `slow`: a loop of this process runs late; then at half the pace.
  [[nodiscard]] bool may_ask(Instant now, bool slow);
  void asked(Instant now);
  void ended(Duration took);  // The end is attached elsewhere.
  void lost();                // It broke, or went away.

  [[nodiscard]] std::size_t under_way() const { return under_way_; }
  [[nodiscard]] double window() const { return window_; }

 private:
  void refill(Instant now, bool slow);

  double per_second_;
  double window_;
  double budget_ = kBurst;
  std::size_t under_way_ = 0;
  std::optional<Instant> refilled_at_;
  Instant asked_at_{};
  Duration quickest_{0};  // Of late: it grows by a fiftieth with each that is not. 0: none yet.
};

}  // namespace everspan::relay
