#include "features/features.h"

#include <algorithm>
#include <array>

#include "common/check.h"

namespace everspan::features {
namespace {

// In order of level. README.md says how to add one.
constexpr std::array kTable{
    FeatureInfo{Feature::settings_log, "settings_log", {1}},
    FeatureInfo{Feature::resumable_sessions, "resumable_sessions", {1}},
    FeatureInfo{Feature::upgrade_plans, "upgrade_plans", {1}},
    FeatureInfo{Feature::endpoint_notes, "endpoint_notes", {2}},
    FeatureInfo{Feature::console_notices, "console_notices", {2}},
    FeatureInfo{Feature::revocations, "revocations", {2}},
};

const FeatureInfo& info(Feature feature) {
  const auto* const found = std::ranges::find(kTable, feature, &FeatureInfo::feature);
  check(found != kTable.end(), "a feature is missing in the table");
  return *found;
}

}  // namespace

std::span<const FeatureInfo> all_features() {
  return kTable;
}

std::optional<FeatureInfo> find_feature(std::string_view name) {
  const auto* const found = std::ranges::find(kTable, name, &FeatureInfo::name);
  if (found == kTable.end()) return std::nullopt;
  return *found;
}

std::string_view feature_name(Feature feature) {
  return info(feature).name;
}

bool allowed(FeatureLevel site, Feature feature) {
  const FeatureInfo& it = info(feature);
  return it.retired || site >= it.allowed_from;
}

State state(FeatureLevel site, std::string_view name) {
  const auto it = find_feature(name);
  if (!it) return State::unknown;
  if (it->retired) return State::retired;
  return site >= it->allowed_from ? State::allowed : State::known;
}

bool level_is_known(FeatureLevel level) {
  return level >= kLevelFirst && level <= kLevelKnown;
}

}  // namespace everspan::features
