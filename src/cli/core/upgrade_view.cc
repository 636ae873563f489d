#include "cli/core/upgrade_view.h"

#include "cli/core/text.h"

namespace everspan::cli {
namespace {

constexpr std::size_t kTimeColumns = 9;

std::string at(std::chrono::milliseconds elapsed) {
  const std::string text = duration_text(elapsed);
  return std::string(text.size() < kTimeColumns ? kTimeColumns - text.size() : 0, ' ') + text;
}

bool is_waiting(const std::string& state) {
  return state.empty() || state == "waiting";
}

}  // namespace

std::string legs_left_text(std::uint64_t left) {
  if (left == 0) return {};
  return ", " + std::to_string(left) + (left == 1 ? " leg" : " legs") + " left at the old release";
}

std::vector<std::string> UpgradeView::news(const UpgradeStatus& status,
                                           std::chrono::milliseconds elapsed) {
  std::vector<std::string> out;
  for (const UpgradeStep& step : status.steps) {
    std::string& known = step_states_[step.id];
    if (known == step.state || is_waiting(step.state)) continue;
    known = step.state;
    std::string line = at(elapsed) + "  " + harmless(step.kind) + ": " + harmless(step.state);
    if (!step.detail.empty()) line += " (" + harmless(step.detail) + ")";
    out.push_back(std::move(line));
  }
  if (status.state != state_) {
    state_ = status.state;
    std::string line = at(elapsed) + "  upgrade: " + harmless(state_);
    if (!status.why.empty()) line += " (" + harmless(status.why) + ")";
    out.push_back(std::move(line));
  }
  return out;
}

std::string UpgradeView::status_line(const UpgradeStatus& status,
                                     std::chrono::milliseconds elapsed) {
  std::string out = harmless(status.state);
  for (std::size_t i = 0; i < status.steps.size(); i++) {
    if (status.steps[i].id != status.step && status.steps[i].kind != status.step) continue;
    out += "  step " + std::to_string(i + 1) + "/" + std::to_string(status.steps.size()) + " " +
           harmless(status.steps[i].kind);
    break;
  }
  if (status.sessions_total > 0) {
    out += "  " + std::to_string(status.sessions_moved) + "/" +
           std::to_string(status.sessions_total) + " sessions moved" +
           legs_left_text(status.legs_left);
  }
  return out + "  " + duration_text(elapsed);
}

}  // namespace everspan::cli
