// What the commands of the pair show. Pure: text from what the site answered; unknown is said, not
// guessed.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace everspan::cli {

struct Lag {
  std::optional<std::uint64_t> records;
  std::optional<std::uint64_t> bytes;
  std::optional<std::uint64_t> ms;
};
// "none", "12 records, 3.4 KiB, 0.2 s", "unknown".
[[nodiscard]] std::string lag_text(const Lag& lag);

struct PeerFacts {
  bool connected = false;
  std::string why_not;
  std::optional<std::uint64_t> heard_ms_ago;
  std::optional<std::int64_t> clock_ahead_ms;
};
// "connected, heard 0.3 s ago, its clock 12 ms ahead"; "not connected (refused), heard 2 m 05 s
// ago".
[[nodiscard]] std::string peer_text(const PeerFacts& peer);

// "ok", "warning", "failed".
[[nodiscard]] std::string_view check_word(bool ok, bool warning);

// Nothing lags behind, as far as is known: the word of a state for colours.
[[nodiscard]] std::string_view sync_word(bool has_peer, bool in_sync, bool diverged);

// "3f2a91c0": enough to tell two nodes apart.
[[nodiscard]] std::string short_id(std::string_view id);

// "1234 of 1300 entries durable at both, 34 KiB of the journal and files to come": the changing
// line of `failover sync`.
struct SyncProgress {
  std::uint64_t target = 0;
  std::optional<std::uint64_t> durable;  // At the one that has less.
  std::optional<std::uint64_t> rest_bytes;
};
[[nodiscard]] std::string sync_line(const SyncProgress& progress);

}  // namespace everspan::cli
