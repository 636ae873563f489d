// The site's stored feature level (features/README.md), for those who write records.
#pragma once
#include "common/result.h"
#include "features/features.h"
#include "store/log.h"

namespace everspan::site {

// As committed now; it never goes down, so what it allows stays allowed.
[[nodiscard]] Result<features::FeatureLevel> stored_feature_level(store::LogReader& log);

// Code feature_not_yet: the site's stored level does not allow it yet. `what`: "Notes of
// endpoints".
[[nodiscard]] Result<void> check_feature(store::LogReader& log, features::Feature feature,
                                         const char* what);

}  // namespace everspan::site
