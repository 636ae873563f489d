#include "api/detail/errors.h"

#include <algorithm>
#include <array>

namespace everspan::api {
namespace {

struct StatusOfCode {
  std::string_view code;
  int status;
};

constexpr std::array kCodes{
    StatusOfCode{"unauthenticated", 401},
    StatusOfCode{"forbidden", 403},
    StatusOfCode{"not_found", 404},
    StatusOfCode{"unknown_setting", 404},
    StatusOfCode{"no_plan", 404},
    StatusOfCode{"too_large", 413},
    StatusOfCode{"slow_down", 429},
    // Nothing was done, and trying again may help.
    StatusOfCode{"unavailable", 503},
    StatusOfCode{"not_writer", 503},
    StatusOfCode{"superseded", 503},
    StatusOfCode{"released", 503},
    StatusOfCode{"stopped", 503},
    StatusOfCode{"timeout", 503},
    StatusOfCode{"disk_full", 503},
    StatusOfCode{"depot_unreachable", 503},
    StatusOfCode{"unreachable", 503},
    StatusOfCode{"http_error", 503},
    StatusOfCode{"truncated", 503},
    // The pair: its state, or what it was found to be, says no.
    StatusOfCode{"exists", 409},
    StatusOfCode{"paired", 409},
    StatusOfCode{"no_peer", 409},
    StatusOfCode{"wrong_key", 409},
    StatusOfCode{"no_key", 409},
    StatusOfCode{"key_spent", 409},
    StatusOfCode{"unknown_node", 409},
    StatusOfCode{"other_node", 409},
    StatusOfCode{"wire_range", 409},
    StatusOfCode{"clock", 409},
    StatusOfCode{"platform", 409},
    StatusOfCode{"diverged", 409},
    StatusOfCode{"has_site", 409},
    StatusOfCode{"checks_failed", 409},
    StatusOfCode{"not_in_sync", 409},
    StatusOfCode{"in_doubt", 409},
    // What the update source offers must not be taken.
    StatusOfCode{"rollback", 409},
    StatusOfCode{"unknown_key", 409},
    StatusOfCode{"bad_signature", 409},
    StatusOfCode{"bad_metadata", 409},
    StatusOfCode{"bad_hash", 409},
    StatusOfCode{"expired", 409},
    StatusOfCode{"missing_metadata", 409},
    // The state of the site says no.
    StatusOfCode{"conflict", 409},
    StatusOfCode{"not_primary", 409},
    StatusOfCode{"refused", 409},
    StatusOfCode{"feature_not_yet", 409},
    StatusOfCode{"endpoint_offline", 409},
    StatusOfCode{"busy", 409},
    StatusOfCode{"no_source", 409},
    StatusOfCode{"no_release", 409},
    StatusOfCode{"unknown_release", 409},
    StatusOfCode{"already_installed", 409},
    StatusOfCode{"wrong_platform", 409},
    StatusOfCode{"below_floor", 409},
    StatusOfCode{"needs_base", 409},
    StatusOfCode{"needs_step", 409},
    StatusOfCode{"no_way_back", 409},
    StatusOfCode{"older_release", 409},
    StatusOfCode{"ended", 409},
    StatusOfCode{"going_back", 409},
    StatusOfCode{"not_paused", 409},
    StatusOfCode{"not_running", 409},
};

// Not a caller's doing, though they begin like it.
constexpr std::array<std::string_view, 3> kOurs{"bad_record", "bad_plan", "bad_certificate"};

}  // namespace

int status_of(std::string_view code) {
  const auto* found = std::ranges::find(kCodes, code, &StatusOfCode::code);
  if (found != kCodes.end()) return found->status;
  if (std::ranges::find(kOurs, code) != kOurs.end()) return 500;
  return code.starts_with("bad_") ? 400 : 500;
}

}  // namespace everspan::api
