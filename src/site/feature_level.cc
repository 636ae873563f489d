#include "site/feature_level.h"

#include <algorithm>
#include <string>

#include "proto/level.pb.h"
#include "site/records.h"

namespace everspan::site {

Result<features::FeatureLevel> stored_feature_level(store::LogReader& log) {
  const auto record = log.get(kKindFeatureLevel, kKeySite);
  if (!record) return fail(record);
  if (!*record) return features::kLevelFirst;
  const auto stored = parse_record<pb::FeatureLevelRecord>(kKindFeatureLevel, (*record)->bytes);
  if (!stored) return fail(stored);
  return features::FeatureLevel{std::max(features::kLevelFirst.value, stored->level())};
}

Result<void> check_feature(store::LogReader& log, features::Feature feature, const char* what) {
  const auto level = stored_feature_level(log);
  if (!level) return fail(level);
  if (features::allowed(*level, feature)) return {};
  return fail("feature_not_yet",
              std::string(what) + " need a later feature level than the site's, which is " +
                  std::to_string(level->value),
              "Nothing was changed", "Finish the upgrade: everspan upgrade finalize");
}

}  // namespace everspan::site
