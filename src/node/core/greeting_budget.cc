#include "node/core/greeting_budget.h"

#include <utility>

#include "common/check.h"

namespace everspan::node {

bool GreetingBudget::begin(const std::string& address, bool known, bool loopback) {
  const auto at = per_address_.find(address);
  const std::size_t here = at == per_address_.end() ? 0 : at->second;
  if (!loopback && here >= limits_.per_address_most) return false;
  if (!known && running_ >= limits_.most) return false;
  ++per_address_[address];
  ++running_;
  return true;
}

void GreetingBudget::ended(const std::string& address) {
  const auto at = per_address_.find(address);
  check(at != per_address_.end(), "only what began ends");
  if (--at->second == 0) per_address_.erase(at);
  --running_;
}

std::optional<std::uint64_t> GreetingBudget::refused(Instant now) {
  if (told_since_ == Instant::min() || now - told_since_ >= limits_.told_in) {
    told_since_ = now;
    told_ = 0;
  }
  if (told_ >= limits_.told_most) {
    ++untold_;
    return std::nullopt;
  }
  ++told_;
  return std::exchange(untold_, 0);
}

}  // namespace everspan::node
