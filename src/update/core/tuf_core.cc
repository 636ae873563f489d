#include "update/core/tuf_core.h"

#include "common/check.h"
#include "update/limits.h"

namespace everspan::update {
namespace {

std::size_t length_or(const FileMeta& meta, std::size_t otherwise) {
  if (!meta.length) return otherwise;
  return std::min<std::size_t>(static_cast<std::size_t>(*meta.length), otherwise);
}

Result<void> check_fresh(const Header& header, Role role, WallTime now) {
  if (now < header.expires) return {};
  return fail(
      "expired",
      "The " + std::string(role_name(role)) + " metadata expired at " + write_utc(header.expires),
      "Nothing was changed", "Check this machine's clock, or ask who runs the depot to sign anew");
}

[[nodiscard]] std::unexpected<Error> rolled_back(std::string what) {
  return fail("rollback", std::move(what), "Nothing was changed",
              "The update source offers something older than was seen before; do not use it");
}

template <class T>
Result<T> open(std::string_view bytes, std::size_t bytes_max, const Root& root, Role role,
               Result<T> (*parse)(const Envelope&)) {
  const auto envelope = parse_envelope(bytes, bytes_max);
  if (!envelope) return fail(envelope);
  if (const auto good = check_signatures(*envelope, root, role); !good) return fail(good);
  return parse(*envelope);
}

}  // namespace

Result<TufCore> TufCore::start(StoredMetadata stored, WallTime now) {
  TufCore core;
  const auto envelope = parse_envelope(stored.root, kRootBytesMax);
  if (!envelope)
    return fail("no_trust", "There is no usable trusted root: " + envelope.error().message);
  auto root = parse_root(*envelope);
  if (!root) return fail("no_trust", "There is no usable trusted root: " + root.error().message);
  if (const auto good = check_signatures(*envelope, *root, Role::root); !good)
    return fail("no_trust", "The trusted root does not hold: " + good.error().message);
  core.root_ = std::move(*root);
  core.stored_ = std::move(stored);
  core.now_ = now;
  core.want_ =
      Want{Role::root, std::to_string(core.root_.version + 1) + ".root.json", kRootBytesMax};
  return core;
}

Result<std::vector<TufCore::Keep>> TufCore::deliver(std::optional<std::string_view> bytes) {
  check(want_.has_value(), "a finished TufCore wants nothing");
  const Want want = *want_;
  std::vector<Keep> none;
  if (!bytes) {
    if (want.role != Role::root)
      return fail("missing_metadata", "The repository has no " + want.name);
    if (const auto on = end_of_roots(); !on) return fail(on);
    return none;
  }
  if (bytes->size() > want.bytes_max)
    return fail("too_large", want.name + " is longer than allowed");
  switch (want.role) {
    case Role::root:
      return take_root(*bytes);
    case Role::timestamp:
      return take_timestamp(*bytes);
    case Role::snapshot: {
      auto snapshot = check_snapshot(*bytes);
      if (!snapshot) return fail(snapshot);
      snapshot_ = std::move(*snapshot);
      std::vector<Keep> keep{{.name = "snapshot.json", .bytes = std::string(*bytes)}};
      if (const auto on = go_to_targets(); !on) return fail(on);
      return keep;
    }
    case Role::targets: {
      auto targets = check_targets(*bytes);
      if (!targets) return fail(targets);
      targets_ = std::move(*targets);
      want_.reset();
      return std::vector<Keep>{{.name = "targets.json", .bytes = std::string(*bytes)}};
    }
  }
  return none;
}

Result<std::vector<TufCore::Keep>> TufCore::take_root(std::string_view bytes) {
  const auto envelope = parse_envelope(bytes, kRootBytesMax);
  if (!envelope) return fail(envelope);
  auto next = parse_root(*envelope);
  if (!next) return fail(next);
  if (const auto old_keys = check_signatures(*envelope, root_, Role::root); !old_keys)
    return fail(old_keys);
  if (const auto own_keys = check_signatures(*envelope, *next, Role::root); !own_keys)
    return fail(own_keys);
  if (next->version != root_.version + 1)
    return rolled_back(want_->name + " says that it is version " + std::to_string(next->version));
  if (++roots_taken_ > kRootRotationsMax)
    return fail("too_large", "The chain of roots is longer than allowed");

  Keep keep;
  for (const Role role : {Role::timestamp, Role::snapshot}) {
    if (next->roles.at(role) == root_.roles.at(role)) continue;
    keep.drop = {"timestamp.json", "snapshot.json"};
    stored_.timestamp.clear();
    stored_.snapshot.clear();
  }
  keep.name = "root.json";
  keep.history_name = want_->name;
  keep.bytes = std::string(bytes);
  root_ = std::move(*next);
  want_ = Want{Role::root, std::to_string(root_.version + 1) + ".root.json", kRootBytesMax};
  return std::vector<Keep>{std::move(keep)};
}

Result<void> TufCore::end_of_roots() {
  if (const auto fresh = check_fresh(root_, Role::root, now_); !fresh) return fail(fresh);
  // A stored file whose signature no longer holds is as good as none: the keys have changed.
  if (auto local =
          open(stored_.timestamp, kTimestampBytesMax, root_, Role::timestamp, parse_timestamp);
      local)
    timestamp_ = std::move(*local);
  want_ = Want{Role::timestamp, "timestamp.json", kTimestampBytesMax};
  return {};
}

Result<std::vector<TufCore::Keep>> TufCore::take_timestamp(std::string_view bytes) {
  auto next = open(bytes, kTimestampBytesMax, root_, Role::timestamp, parse_timestamp);
  if (!next) return fail(next);
  std::vector<Keep> keep;
  if (timestamp_) {
    if (next->version < timestamp_->version)
      return rolled_back("The timestamp is version " + std::to_string(next->version) +
                         ", seen was " + std::to_string(timestamp_->version));
    if (next->version == timestamp_->version) {
      if (const auto on = use_timestamp(Timestamp(*timestamp_)); !on) return fail(on);
      return keep;
    }
    if (next->snapshot.version < timestamp_->snapshot.version)
      return rolled_back("The timestamp names an older snapshot than was seen");
  }
  keep.push_back({.name = "timestamp.json", .bytes = std::string(bytes)});
  if (const auto on = use_timestamp(std::move(*next)); !on) return fail(on);
  return keep;
}

Result<void> TufCore::use_timestamp(Timestamp timestamp) {
  if (const auto fresh = check_fresh(timestamp, Role::timestamp, now_); !fresh) return fail(fresh);
  timestamp_ = std::move(timestamp);
  return go_to_snapshot();
}

Result<void> TufCore::go_to_snapshot() {
  if (auto local = open(stored_.snapshot, kSnapshotBytesMax, root_, Role::snapshot, parse_snapshot);
      local) {
    old_snapshot_ = std::move(*local);
    if (auto same = check_snapshot(stored_.snapshot); same) {
      snapshot_ = std::move(*same);
      return go_to_targets();
    }
  }
  want_ = Want{Role::snapshot, versioned(timestamp_->snapshot.version, "snapshot"),
               length_or(timestamp_->snapshot, kSnapshotBytesMax)};
  return {};
}

Result<Snapshot> TufCore::check_snapshot(std::string_view bytes) const {
  if (const auto whole = check_file(bytes, timestamp_->snapshot, "snapshot.json"); !whole)
    return fail(whole);
  auto next = open(bytes, kSnapshotBytesMax, root_, Role::snapshot, parse_snapshot);
  if (!next) return next;
  if (next->version != timestamp_->snapshot.version)
    return fail("bad_metadata", "The snapshot is another version than the timestamp names");
  if (old_snapshot_) {
    for (const auto& [name, old] : old_snapshot_->files) {
      const auto found = next->files.find(name);
      if (found == next->files.end())
        return rolled_back(name + " has disappeared from the snapshot");
      if (found->second.version < old.version)
        return rolled_back(name + " is older in the snapshot than was seen");
    }
  }
  if (const auto fresh = check_fresh(*next, Role::snapshot, now_); !fresh) return fail(fresh);
  return next;
}

Result<void> TufCore::go_to_targets() {
  const auto meta = snapshot_->files.find("targets.json");
  if (meta == snapshot_->files.end())
    return fail("bad_metadata", "The snapshot names no targets.json");
  if (auto local = check_targets(stored_.targets); local) {
    targets_ = std::move(*local);
    want_.reset();
    return {};
  }
  want_ = Want{Role::targets, versioned(meta->second.version, "targets"),
               length_or(meta->second, kTargetsBytesMax)};
  return {};
}

Result<Targets> TufCore::check_targets(std::string_view bytes) const {
  const FileMeta& meta = snapshot_->files.at("targets.json");
  if (const auto whole = check_file(bytes, meta, "targets.json"); !whole) return fail(whole);
  auto next = open(bytes, kTargetsBytesMax, root_, Role::targets, parse_targets);
  if (!next) return next;
  if (next->version != meta.version)
    return fail("bad_metadata", "The targets are another version than the snapshot names");
  if (const auto fresh = check_fresh(*next, Role::targets, now_); !fresh) return fail(fresh);
  return next;
}

std::string TufCore::versioned(std::int64_t version, std::string_view role) const {
  std::string name = std::string(role) + ".json";
  return root_.consistent_snapshot ? std::to_string(version) + "." + name : name;
}

}  // namespace everspan::update
