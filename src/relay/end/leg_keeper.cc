#include "relay/end/leg_keeper.h"

#include <algorithm>

namespace everspan::relay_end {

LegKeeper::LegKeeper(LegOrders orders, Duration ttl, std::uint64_t seed,
                     std::uint64_t generation_used)
    : ttl_(ttl), random_(seed), generation_(generation_used) {
  set_orders(std::move(orders));
}

void LegKeeper::set_orders(LegOrders orders) {
  if (orders.candidates.empty()) orders.candidates = std::move(orders_.candidates);
  if (orders.candidates.size() > kCandidatesMax) orders.candidates.resize(kCandidatesMax);
  orders_ = std::move(orders);
}

Duration LegKeeper::heartbeat() const {
  return orders_.heartbeat > Duration{0} ? orders_.heartbeat : kHeartbeatDefault;
}

void LegKeeper::start(DialReason reason, Instant now) {
  without_leg_since_ = now;
  attempt_ = Attempt{.reason = reason, .at = now};
}

void LegKeeper::migrate(std::uint64_t leg, std::vector<Candidate> to, Duration delay, Instant now) {
  if (!current_ || current_->generation != leg) return;
  if (attempt_ && attempt_->generation)
    return;  // Under way already; where it leads says what next.
  if (to.size() > kCandidatesMax) to.resize(kCandidatesMax);
  attempt_ = Attempt{.reason = DialReason::planned, .candidates = std::move(to), .at = now + delay};
}

std::optional<LegKeeper::Attachment> LegKeeper::attached(std::uint64_t leg, Instant now) {
  if (!attaching(leg)) return std::nullopt;  // L1, L3
  Attachment attachment{.reason = attempt_->reason, .retried = attempt_->tries > 0};
  if (current_) {
    attachment.old = current_->generation;
    draining_.push_back({.generation = current_->generation, .until = now + kDrainMax});
  }
  current_ = Current{.generation = leg, .heard_at = now};
  last_ = attempt_->dialled;
  attempt_.reset();
  return attachment;
}

void LegKeeper::lose_current(Instant now, Out& out) {
  current_.reset();
  out.current_lost = true;
  without_leg_since_ = now;
  if (attempt_ && attempt_->generation) out.close.push_back(*attempt_->generation);  // L4
  Duration wait = orders_.redial_after;
  if (orders_.redial_spread > Duration{0})
    wait += Duration(random_.below(static_cast<std::uint64_t>(orders_.redial_spread.count()) + 1));
  attempt_ = Attempt{.reason = DialReason::lost, .at = now + wait};
}

void LegKeeper::try_again(Duration retry_after, Instant now) {
  attempt_->generation.reset();
  ++attempt_->tries;
  const auto& list = attempt_->candidates.empty() ? orders_.candidates : attempt_->candidates;
  // All candidates once at short intervals, then each round waits twice as long.
  const std::size_t rounds = attempt_->tries / std::max<std::size_t>(list.size(), 1);
  Duration wait = kRetryFirst * (1 << std::min<std::size_t>(rounds, 6));
  wait = std::min(kRetryMax, wait);
  wait += Duration(random_.below(static_cast<std::uint64_t>(wait.count()) / 2 + 1));
  attempt_->at = now + std::max(wait, retry_after);
}

void LegKeeper::failed(std::uint64_t leg, Duration retry_after, Instant now, Out& out) {
  if (attaching(leg)) {
    try_again(retry_after, now);
    return;
  }
  if (current_ && current_->generation == leg) {
    lose_current(now, out);
    return;
  }
  if (std::erase_if(draining_, [&](const Draining& d) { return d.generation == leg; }) > 0)
    out.drain_lost = true;
}

void LegKeeper::drained(std::uint64_t leg) {
  std::erase_if(draining_, [&](const Draining& d) { return d.generation == leg; });
}

void LegKeeper::heard(std::uint64_t leg, Instant now) {
  if (!current_ || current_->generation != leg) return;
  current_->heard_at = now;
  current_->pinged = false;
}

Dial LegKeeper::next_dial() {
  const auto list = attempt_->candidates.empty() ? candidates() : attempt_->candidates;
  Dial dial{.generation = ++generation_, .reason = attempt_->reason};
  // An earlier attempt may have got through although its answer did not.
  if (dial.reason == DialReason::first && generation_ > 1) dial.reason = DialReason::lost;
  if (!list.empty()) dial.candidate = list[attempt_->tries % list.size()];
  attempt_->dialled = dial.candidate;
  return dial;
}

std::vector<Candidate> LegKeeper::candidates() const {
  std::vector<Candidate> out = orders_.candidates;
  const auto same_place = [this](const Candidate& c) {
    return last_ && c.host == last_->host && c.port == last_->port;
  };
  const auto was = std::ranges::find_if(out, same_place);
  if (was != out.end()) std::rotate(out.begin(), was, was + 1);
  return out;
}

void LegKeeper::tick(Instant now, Out& out) {
  if (current_) {
    const Duration quiet = now - current_->heard_at;
    if (quiet >= heartbeat() * kSilentHeartbeatsMax) {
      out.close.push_back(current_->generation);
      lose_current(now, out);
    } else if (quiet >= heartbeat() && !current_->pinged) {
      current_->pinged = true;
      out.ping = current_->generation;
    }
  }
  for (const auto& leg : draining_)
    if (now >= leg.until) out.close.push_back(leg.generation);
  if (std::erase_if(draining_, [&](const Draining& d) { return now >= d.until; }) > 0)
    out.drain_lost = true;
  if (!current_ && now - without_leg_since_ >= ttl_) out.ttl_over = true;  // L5
  if (!attempt_ || now < attempt_->at) return;
  if (attempt_->generation) {
    out.close.push_back(*attempt_->generation);
    try_again(Duration{0}, now);
    return;
  }
  out.dial = next_dial();
  attempt_->generation = generation_;
  attempt_->at = now + kAttachMax;
}

Instant LegKeeper::wake_at() const {
  Instant at = Instant::max();
  if (current_)
    at = std::min(at,
                  current_->heard_at + heartbeat() * (current_->pinged ? kSilentHeartbeatsMax : 1));
  else
    at = std::min(at, without_leg_since_ + ttl_);
  for (const auto& leg : draining_) at = std::min(at, leg.until);
  if (attempt_) at = std::min(at, attempt_->at);
  return at;
}

std::optional<std::uint64_t> LegKeeper::current() const {
  if (!current_) return std::nullopt;
  return current_->generation;
}

bool LegKeeper::attaching(std::uint64_t leg) const {
  return attempt_ && attempt_->generation && *attempt_->generation == leg;
}

bool LegKeeper::is_draining(std::uint64_t leg) const {
  return std::any_of(draining_.begin(), draining_.end(),
                     [&](const Draining& d) { return d.generation == leg; });
}

bool LegKeeper::delivers(std::uint64_t leg) const {
  return (current_ && current_->generation == leg) || is_draining(leg);
}

}  // namespace everspan::relay_end
