#include "node/release_info.h"

#include "features/features.h"
#include "proto/frame.h"
#include "update/release_info.h"

namespace everspan::node {
namespace {

constexpr std::uint32_t kLogFormat = 1;  // docs/decisions/2026-11-23-log-format.md

// In the program's file for build-package to find, so it must not be folded away.
[[gnu::used]] constinit const update::ReleaseInfoText kText =
    update::release_info_text({.wire_min = wire::kWireMin,
                               .wire_max = wire::kWireMax,
                               .log_format = kLogFormat,
                               .feature_level = features::kLevelKnown.value});

}  // namespace

std::string_view release_info_json() {
  const std::string_view text(kText.data(), kText.size());
  const std::size_t begin = text.find('{');
  return text.substr(begin, text.find('\n') - begin);
}

}  // namespace everspan::node
