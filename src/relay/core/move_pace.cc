#include "relay/core/move_pace.h"

#include <algorithm>

namespace everspan::relay {

void MovePace::refill(Instant now, bool slow) {
  if (refilled_at_) {
    const double seconds = std::chrono::duration<double>(now - *refilled_at_).count();
    const double room = std::max(kBurst, per_second_ / 20);  // What 50 ms of a late loop owe.
    budget_ = std::min(room, budget_ + seconds * per_second_ * (slow ? 0.5 : 1.0));
  }
  refilled_at_ = now;
}

bool MovePace::may_ask(Instant now, bool slow) {
  refill(now, slow);
  if (budget_ < 1) return false;
  if (under_way_ == 0 || static_cast<double>(under_way_ + 1) <= window_) return true;
  return now - asked_at_ >= std::chrono::duration<double>(1 / (per_second_ * kLeast));  // M2
}

void MovePace::asked(Instant now) {
  asked_at_ = now;
  budget_ -= 1;
  ++under_way_;
}

void MovePace::ended(Duration took) {
  lost();
  quickest_ = quickest_ == Duration{0} ? took : std::min(quickest_ * 51 / 50, took);
  if (took <= quickest_ * 3 / 2 + kSlack)
    window_ = std::min(kWindowMax, window_ + 1);
  else
    window_ = std::max(1.0, window_ * 0.8);
}

void MovePace::lost() {
  if (under_way_ > 0) --under_way_;
}

}  // namespace everspan::relay
