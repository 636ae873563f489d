// What the program says to scripts (CONTRACT: exit codes).
#pragma once
#include <string_view>

namespace everspan::cli {

enum Exit : int {
  kOk = 0,
  kFailed = 1,
  kUsage = 2,
  kRefused = 3,      // Not logged in, not allowed, or the site will not.
  kUnreachable = 4,  // No answer, or none now.
  kConflict = 5,     // Another state than the command expects.
  kWentBack = 6,     // The upgrade was rolled back.
};

// `status` is the answer's HTTP status, 0 when there was none; `code` the error's stable word.
[[nodiscard]] Exit exit_code_for(int status, std::string_view code);

// How an upgrade's state ends the command that follows it. `ended`: the state is final.
struct UpgradeEnd {
  bool ended = false;
  Exit exit = kOk;
};
[[nodiscard]] UpgradeEnd upgrade_end(std::string_view state);

}  // namespace everspan::cli
