#include "cli/core/exit_code.h"

#include <algorithm>
#include <array>

namespace everspan::cli {
namespace {

template <std::size_t N>
bool is_one_of(std::string_view code, const std::array<std::string_view, N>& codes) {
  return std::ranges::find(codes, code) != codes.end();
}

constexpr std::array<std::string_view, 6> kNoAnswer = {
    "unreachable", "timeout", "cut", "tls_certificate", "tls_handshake", "unavailable"};
constexpr std::array<std::string_view, 16> kRefusals = {
    "refused", "forbidden", "unauthenticated", "slow_down", "not_confirmed",
    // What a check before establishing the pair found.
    "wrong_key", "no_key", "key_spent", "unknown_node", "other_node", "wire_range", "clock",
    "platform", "has_site", "checks_failed", "bad_key"};

}  // namespace

Exit exit_code_for(int status, std::string_view code) {
  if (code == "usage") return kUsage;
  if (is_one_of(code, kRefusals)) return kRefused;
  if (is_one_of(code, kNoAnswer)) return kUnreachable;
  switch (status) {
    case 401:
    case 403:
    case 429:
      return kRefused;
    case 409:
    case 412:
      return kConflict;
    case 502:
    case 503:
    case 504:
      return kUnreachable;
    default:
      return kFailed;
  }
}

UpgradeEnd upgrade_end(std::string_view state) {
  if (state == "done" || state == "awaiting_finalize") return {true, kOk};
  if (state == "rolled_back") return {true, kWentBack};
  if (state == "failed" || state == "parked") return {true, kFailed};
  return {};
}

}  // namespace everspan::cli
