// The folder of trusted metadata, shared by the online client and the offline verifier.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/result.h"
#include "update/core/tuf_core.h"

namespace everspan::update::detail {

[[nodiscard]] Result<StoredMetadata> read_trust(const std::string& dir);
// Code no_trust if it has no root.json.
[[nodiscard]] Result<void> keep(const std::string& dir, const TufCore::Keep& what);

// The wanted file, or nullopt if the source has none.
using Source = std::function<Result<std::optional<std::string>>(const TufCore::Want&)>;
// Runs the workflow to its end. Each step's files go to `on_keep` as soon as they are verified.
[[nodiscard]] Result<TufCore> run_workflow(
    StoredMetadata stored, WallTime now, const Source& source,
    const std::function<Result<void>(const TufCore::Keep&)>& on_keep);
// A folder as source: a client's (root_history/, unversioned names) or a repository's.
[[nodiscard]] Source folder_source(std::string dir);

}  // namespace everspan::update::detail
