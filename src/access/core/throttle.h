// LoginThrottle slows down guessing of passwords, per account and per address. Pure: time comes in.
//
// Each key (an account; an address, of IPv6 its /64) has failures in a row. The first
// `free_attempts` cost nothing; each further one doubles the wait, up to `delay_max`. An attempt
// under way counts as failed until it has ended, so guesses sent at once gain nothing.
//
// Invariants
//   T1  Memory is bounded: at most `entries_max` keys a table; the longest unused key goes first.
//   T2  A refused attempt changes no count: being refused does not make the wait longer.
//   T3  An address over its limit never reaches an account's record, so one address can neither
//       flush the account table nor lock many people out.
//   T4  A person who logged in from an address before is not held up there by what others do to
//       his account from elsewhere.
#pragma once
#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "common/time.h"

namespace everspan::access {

struct ThrottleRule {
  std::uint32_t free_attempts = 10;
  Duration delay_first = std::chrono::seconds(1);
  Duration delay_max = std::chrono::minutes(15);
  Duration forget_after = std::chrono::hours(1);  // After the last failure.
  std::size_t entries_max = 10'000;
};

// One table: failures and waits of keys that all follow one rule.
class ThrottleTable {
 public:
  explicit ThrottleTable(ThrottleRule rule) : rule_(rule) {}
  // How long `key` must wait; nullopt: it may try now.
  [[nodiscard]] std::optional<Duration> wait(std::string_view key, Instant now);
  void began(std::string_view key, Instant now);
  void ended(std::string_view key, bool success, Instant now);
  void abandoned(std::string_view key);  // Begun, but nothing was checked: counts for nothing.
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::uint32_t failures = 0;
    std::uint32_t under_way = 0;
    Instant last{};
    Instant blocked_until{};
    std::list<std::string>::iterator order;
  };
  Entry& touch(std::string_view key, Instant now);
  void drop_if_forgotten(std::string_view key, Instant now);
  [[nodiscard]] Duration delay_after(std::uint32_t failures) const;

  ThrottleRule rule_;
  std::unordered_map<std::string, Entry> entries_;
  std::list<std::string> order_;  // Longest unused first.
};

class LoginThrottle {
 public:
  struct Rules {
    ThrottleRule account{.delay_max = std::chrono::seconds(60)};
    ThrottleRule address{.free_attempts = 20};
    std::size_t known_max = 10'000;
  };
  LoginThrottle() : LoginThrottle(Rules{}) {}
  explicit LoginThrottle(Rules rules);

  // Before a password is checked. nullopt: go on, and call ended() once it was checked. Else: how
  // long to wait. `account` names the area too ("site/alice"). `address`: host only.
  [[nodiscard]] std::optional<Duration> begin(std::string_view account, std::string_view address,
                                              Instant now);
  void ended(std::string_view account, std::string_view address, bool success, Instant now);
  void abandoned(std::string_view account, std::string_view address);  // Nothing was checked.

  [[nodiscard]] std::size_t size() const { return accounts_.size() + addresses_.size(); }

 private:
  [[nodiscard]] bool is_known(const std::string& pair) const { return known_.contains(pair); }
  void remember(const std::string& pair);

  Rules rules_;
  ThrottleTable accounts_;
  ThrottleTable addresses_;
  std::unordered_map<std::string, std::list<std::string>::iterator> known_;
  std::list<std::string> known_order_;  // Longest unused first.
};

// The address as the throttle counts it: IPv4 as it is, IPv6 by its first 64 bits, IPv4 inside IPv6
// as IPv4; anything else as given.
[[nodiscard]] std::string throttle_address(std::string_view host);

}  // namespace everspan::access
