// What `upgrade apply` shows while it follows an upgrade. Pure: told what the site answered, it
// says which lines to print for good and what the one line that changes looks like.
#pragma once
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace everspan::cli {

struct UpgradeStep {
  std::string id;
  std::string kind;
  std::string state;
  std::string detail;
  std::string started_at;
  std::string ended_at;
};
struct UpgradeStatus {
  std::string plan;
  std::string state;
  std::string step;
  std::string why;
  std::vector<UpgradeStep> steps;
  std::uint64_t sessions_moved = 0;
  std::uint64_t sessions_total = 0;
  std::uint64_t legs_left = 0;  // At the old process.
};

// ", 3 legs left at the old release"; empty for 0.
[[nodiscard]] std::string legs_left_text(std::uint64_t left);

class UpgradeView {
 public:
  // Lines that are new since the last call: a step that began or ended, a state that changed.
  [[nodiscard]] std::vector<std::string> news(const UpgradeStatus& status,
                                              std::chrono::milliseconds elapsed);
  // "running  step 3/9 switch  120/200 sessions moved  0 m 12 s"
  [[nodiscard]] static std::string status_line(const UpgradeStatus& status,
                                               std::chrono::milliseconds elapsed);

 private:
  std::string state_;
  std::map<std::string, std::string> step_states_;
};

}  // namespace everspan::cli
