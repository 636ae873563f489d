#include "cli/core/failover_view.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "cli/core/text.h"

namespace everspan::cli {
namespace {

constexpr std::size_t kShortIdBytes = 8;

std::string age(std::uint64_t ms) {
  return duration_text(std::chrono::milliseconds(ms));
}

std::string joined(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : ", ") + part;
  return out;
}

}  // namespace

std::string lag_text(const Lag& lag) {
  if (lag.records == 0U && lag.bytes.value_or(0) == 0) return "none";
  std::vector<std::string> parts;
  if (lag.records)
    parts.push_back(std::to_string(*lag.records) + (*lag.records == 1 ? " record" : " records"));
  if (lag.bytes) parts.push_back(bytes_text(*lag.bytes));
  if (lag.ms) parts.push_back(age(*lag.ms));
  return parts.empty() ? "unknown" : joined(parts);
}

std::string peer_text(const PeerFacts& peer) {
  std::vector<std::string> parts;
  std::string link = peer.connected ? "connected" : "not connected";
  if (!peer.connected && !peer.why_not.empty()) link += " (" + harmless(peer.why_not) + ")";
  parts.push_back(std::move(link));
  parts.push_back(peer.heard_ms_ago ? "heard " + age(*peer.heard_ms_ago) + " ago" : "never heard");
  if (peer.clock_ahead_ms && *peer.clock_ahead_ms != 0) {
    const bool ahead = *peer.clock_ahead_ms > 0;
    const auto by =
        static_cast<std::uint64_t>(ahead ? *peer.clock_ahead_ms : -(*peer.clock_ahead_ms + 1)) +
        (ahead ? 0U : 1U);
    parts.push_back("its clock " + (by < 1000 ? std::to_string(by) + " ms" : age(by)) +
                    (ahead ? " ahead" : " behind"));
  }
  return joined(parts);
}

std::string_view check_word(bool ok, bool warning) {
  if (!ok) return "failed";
  return warning ? "warning" : "ok";
}

std::string_view sync_word(bool has_peer, bool in_sync, bool diverged) {
  if (diverged) return "diverged";
  if (!has_peer) return "alone";
  return in_sync ? "in sync" : "not in sync";
}

std::string short_id(std::string_view id) {
  return harmless(id.substr(0, kShortIdBytes));
}

std::string sync_line(const SyncProgress& progress) {
  std::string out = "up to entry " + std::to_string(progress.target) + ": ";
  if (progress.durable)
    out += std::to_string(std::min(*progress.durable, progress.target)) + " durable on both";
  else
    out += "what the other has is not known yet";
  if (progress.rest_bytes)
    out += ", " + bytes_text(*progress.rest_bytes) + " of journal and files to go";
  return out;
}

}  // namespace everspan::cli
