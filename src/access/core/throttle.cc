#include "access/core/throttle.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "common/bytes.h"

namespace everspan::access {

std::string throttle_address(std::string_view host) {
  const std::string text(host.substr(0, 64));  // No address is longer.
  in6_addr v6{};
  if (inet_pton(AF_INET6, text.c_str(), &v6) != 1) return text;
  if (IN6_IS_ADDR_V4MAPPED(&v6)) {
    char v4[INET_ADDRSTRLEN]{};
    inet_ntop(AF_INET, v6.s6_addr + 12, v4, sizeof v4);
    return v4;
  }
  return to_hex(Bytes(v6.s6_addr, 8)) + "::/64";
}

Duration ThrottleTable::delay_after(std::uint32_t failures) const {
  if (failures < rule_.free_attempts) return Duration::zero();
  const std::uint32_t doublings = std::min(failures - rule_.free_attempts, 30U);
  return std::min(rule_.delay_first * (std::int64_t{1} << doublings), rule_.delay_max);
}

void ThrottleTable::drop_if_forgotten(std::string_view key, Instant now) {
  const auto found = entries_.find(std::string(key));
  if (found == entries_.end() || found->second.under_way > 0) return;
  if (now < found->second.last + rule_.forget_after) return;
  order_.erase(found->second.order);
  entries_.erase(found);
}

std::optional<Duration> ThrottleTable::wait(std::string_view key, Instant now) {
  drop_if_forgotten(key, now);
  const auto found = entries_.find(std::string(key));
  if (found == entries_.end()) return std::nullopt;
  const Entry& entry = found->second;
  if (now < entry.blocked_until) return entry.blocked_until - now;
  // Attempts under way may all fail: no more of them than failures are left, but always one.
  const std::uint32_t left =
      entry.failures < rule_.free_attempts ? rule_.free_attempts - entry.failures : 1;
  if (entry.under_way >= left) return rule_.delay_first;
  return std::nullopt;
}

ThrottleTable::Entry& ThrottleTable::touch(std::string_view key, Instant now) {
  std::string owned(key);
  auto [found, inserted] = entries_.try_emplace(owned);
  Entry& entry = found->second;
  if (inserted) {
    entry.order = order_.insert(order_.end(), owned);
  } else {
    order_.splice(order_.end(), order_, entry.order);
  }
  entry.last = now;
  if (entries_.size() > rule_.entries_max) {  // T1; never the one just touched: it is last.
    entries_.erase(order_.front());
    order_.pop_front();
  }
  return entry;
}

void ThrottleTable::began(std::string_view key, Instant now) {
  ++touch(key, now).under_way;
}

void ThrottleTable::ended(std::string_view key, bool success, Instant now) {
  Entry& entry = touch(key, now);
  if (entry.under_way > 0) --entry.under_way;  // 0: the entry was dropped meanwhile (T1).
  if (success) {
    entry.failures = 0;
    entry.blocked_until = {};
    return;
  }
  if (entry.failures < UINT32_MAX) ++entry.failures;
  entry.blocked_until = std::max(entry.blocked_until, now + delay_after(entry.failures));
}

void ThrottleTable::abandoned(std::string_view key) {
  const auto found = entries_.find(std::string(key));
  if (found != entries_.end() && found->second.under_way > 0) --found->second.under_way;
}

LoginThrottle::LoginThrottle(Rules rules)
    : rules_(rules), accounts_(rules.account), addresses_(rules.address) {}

namespace {
std::string pair_of(std::string_view account, const std::string& address) {
  return std::string(account) + '\n' + address;
}
}  // namespace

std::optional<Duration> LoginThrottle::begin(std::string_view account, std::string_view host,
                                             Instant now) {
  const std::string address = throttle_address(host);
  if (auto wait = addresses_.wait(address, now)) return wait;
  const bool known = is_known(pair_of(account, address));
  if (!known) {
    if (auto wait = accounts_.wait(account, now)) return wait;
  }
  addresses_.began(address, now);
  accounts_.began(account, now);
  return std::nullopt;
}

void LoginThrottle::ended(std::string_view account, std::string_view host, bool success,
                          Instant now) {
  const std::string address = throttle_address(host);
  addresses_.ended(address, success, now);
  accounts_.ended(account, success, now);
  if (success) remember(pair_of(account, address));
}

void LoginThrottle::abandoned(std::string_view account, std::string_view host) {
  addresses_.abandoned(throttle_address(host));
  accounts_.abandoned(account);
}

void LoginThrottle::remember(const std::string& pair) {
  if (const auto found = known_.find(pair); found != known_.end()) {
    known_order_.splice(known_order_.end(), known_order_, found->second);
    return;
  }
  known_[pair] = known_order_.insert(known_order_.end(), pair);
  if (known_.size() > rules_.known_max) {
    known_.erase(known_order_.front());
    known_order_.pop_front();
  }
}

}  // namespace everspan::access
