// Which behaviours a site may use while releases are mixed (DESIGN section 8). Pure.
//
// A release *knows* levels up to kLevelKnown; the site *stores* one level, raised by `finalize`
// once every node's release knows it. A release accepts every form that it knows, and writes or
// sends only what the stored level allows. Names and levels are for ever: never reuse or renumber
// one.
//
//     unknown  --release knows the level-->  known  --site's level reaches it-->  allowed
//                                                                          allowed --> retired
//
// A retired feature is one that every release still in use has behind it: it is always on, and its
// name stays in the table.
#pragma once
#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace everspan::features {

struct FeatureLevel {
  std::uint32_t value = 1;
  auto operator<=>(const FeatureLevel&) const = default;
};

inline constexpr FeatureLevel kLevelFirst{1};
inline constexpr FeatureLevel kLevelKnown{2};  // The next release that adds a feature raises this.

enum class Feature : std::uint16_t {
  settings_log = 1,    // Settings as transactions of the frozen log.
  resumable_sessions,  // everspan/1 links: attach, resume, migrate, barrier.
  upgrade_plans,       // Plans as records in settings.
  endpoint_notes,      // Endpoint.note in the record of an endpoint.
  console_notices,     // Notice from a node to consoles (wire 2).
  revocations,         // Records of kind revocation: which sessions of a person are void.
};

enum class State { unknown, known, allowed, retired };

struct FeatureInfo {
  Feature feature;
  std::string_view name;  // As stored, sent and shown.
  FeatureLevel allowed_from;
  bool retired = false;
};

[[nodiscard]] std::span<const FeatureInfo> all_features();
[[nodiscard]] std::optional<FeatureInfo> find_feature(std::string_view name);
[[nodiscard]] std::string_view feature_name(Feature feature);

// May this site, at its stored level, send and write what the feature brings?
[[nodiscard]] bool allowed(FeatureLevel site, Feature feature);
[[nodiscard]] State state(FeatureLevel site, std::string_view name);
// Can this release serve a site that stores `level`?
[[nodiscard]] bool level_is_known(FeatureLevel level);

}  // namespace everspan::features
