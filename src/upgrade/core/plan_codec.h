// Plans to and from the record in settings (proto/plan.proto). Members and steps that
// this release does not know are kept. Pure.
#pragma once
#include <string>
#include <string_view>

#include "upgrade/core/plan_core.h"
#include "upgrade/core/site_plan.h"

namespace everspan::upgrade {

[[nodiscard]] std::string encode_plan(const PlanState::Stored& stored);
// Code: bad_plan.
[[nodiscard]] Result<PlanState::Stored> decode_plan(std::string_view bytes);

// The same record where there is one part; else its parts are records inside.
[[nodiscard]] std::string encode_site_plan(const SitePlan::Stored& stored);
[[nodiscard]] Result<SitePlan::Stored> decode_site_plan(std::string_view bytes);

}  // namespace everspan::upgrade
