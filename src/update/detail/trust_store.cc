#include "update/detail/trust_store.h"

#include <unistd.h>

#include <cerrno>

#include "update/files.h"
#include "update/limits.h"

namespace everspan::update::detail {
namespace {

Result<std::string> read_or_empty(const std::string& path, std::size_t bytes_max) {
  auto bytes = read_file(path, bytes_max);
  if (!bytes && bytes.error().code == "not_found") return std::string();
  return bytes;
}

}  // namespace

Result<StoredMetadata> read_trust(const std::string& dir) {
  StoredMetadata out;
  const std::pair<std::string*, std::pair<const char*, std::size_t>> files[] = {
      {&out.root, {"root.json", kRootBytesMax}},
      {&out.timestamp, {"timestamp.json", kTimestampBytesMax}},
      {&out.snapshot, {"snapshot.json", kSnapshotBytesMax}},
      {&out.targets, {"targets.json", kTargetsBytesMax}}};
  for (const auto& [into, file] : files) {
    auto bytes = read_or_empty(dir + "/" + file.first, file.second);
    if (!bytes) return fail(bytes);
    *into = std::move(*bytes);
  }
  if (out.root.empty()) return fail("no_trust", "There is no trusted root.json in " + dir);
  return out;
}

Result<void> keep(const std::string& dir, const TufCore::Keep& what) {
  for (const std::string& name : what.drop)
    if (::unlink((dir + "/" + name).c_str()) != 0 && errno != ENOENT)
      return fail_file("Cannot remove " + name, errno);
  if (!what.drop.empty())
    if (const auto synced = sync_dir(dir); !synced) return synced;
  if (!what.history_name.empty()) {
    if (const auto made = make_dirs(dir + "/root_history"); !made) return made;
    if (const auto kept = write_file_atomic(dir + "/root_history/" + what.history_name, what.bytes);
        !kept)
      return kept;
  }
  if (what.name.empty()) return {};
  return write_file_atomic(dir + "/" + what.name, what.bytes);
}

Result<TufCore> run_workflow(StoredMetadata stored, WallTime now, const Source& source,
                             const std::function<Result<void>(const TufCore::Keep&)>& on_keep) {
  auto core = TufCore::start(std::move(stored), now);
  if (!core) return core;
  while (core->want()) {
    const TufCore::Want want = *core->want();
    const auto bytes = source(want);
    if (!bytes) return fail(bytes);
    const auto keeps = core->deliver(*bytes);
    if (!keeps) return fail(keeps);
    for (const TufCore::Keep& what : *keeps)
      if (const auto kept = on_keep(what); !kept) return fail(kept);
  }
  return core;
}

Source folder_source(std::string dir) {
  return [dir = std::move(dir)](const TufCore::Want& want) -> Result<std::optional<std::string>> {
    std::vector<std::string> names{want.name};
    if (want.role == Role::root) {
      names.push_back("root_history/" + want.name);
    } else {
      names.push_back(std::string(role_name(want.role)) + ".json");
    }
    for (const std::string& name : names) {
      auto bytes = read_file(dir + "/" + name, want.bytes_max);
      if (bytes) return std::optional<std::string>(std::move(*bytes));
      if (bytes.error().code != "not_found") return fail(bytes);
    }
    return std::optional<std::string>();
  };
}

}  // namespace everspan::update::detail
