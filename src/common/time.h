// Points in time and lengths of it. Cores get these as arguments; only net/ and programs read
// clocks.
//
// Instant: monotonic, counted from the machine's start (CLOCK_BOOTTIME, so suspend counts): for
// timers, leases, deadlines inside one machine. WallTime: milliseconds since 1970 UTC: for people,
// certificates, tokens. They never mix.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace everspan {

using Duration = std::chrono::microseconds;

struct SiteClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<SiteClock>;
  static constexpr bool is_steady = true;
};
using Instant = SiteClock::time_point;

struct WallTime {
  std::int64_t unix_ms = 0;
  auto operator<=>(const WallTime&) const = default;
  [[nodiscard]] WallTime after(std::chrono::milliseconds d) const { return {unix_ms + d.count()}; }
};

// 2026-11-23T02:10:51.123Z
[[nodiscard]] std::string to_iso8601(WallTime time);

}  // namespace everspan
