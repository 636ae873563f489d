#include "depot/repository.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <optional>
#include <system_error>

#include "common/bytes.h"
#include "common/crypto.h"
#include "depot/detail/package_check.h"
#include "depot/detail/signer.h"
#include "update/files.h"
#include "update/limits.h"
#include "update/package.h"

namespace everspan::depot {
namespace {

using std::chrono::hours;
using update::Json;
using update::Role;

struct Life {
  Role role;
  std::chrono::milliseconds length;
};
// The timestamp is signed by a machine, often; the root by people, seldom.
constexpr Life kLives[] = {{Role::root, hours(24 * 365)},
                           {Role::targets, hours(24 * 90)},
                           {Role::snapshot, hours(24 * 30)},
                           {Role::timestamp, hours(24 * 7)}};
std::chrono::milliseconds life_of(Role role) {
  for (const Life& life : kLives)
    if (life.role == role) return life.length;
  return hours(24);
}

std::string versioned(std::int64_t version, Role role) {
  return std::to_string(version) + "." + std::string(update::role_name(role)) + ".json";
}

// Changes a repository that was read and checked as a client does.
class Editor {
 public:
  static Result<Editor> open(const std::string& dir, WallTime now) {
    Editor editor(dir, now);
    auto lock = take_lock(dir);
    if (!lock) return fail(lock);
    editor.lock_ = std::move(*lock);
    auto trust = detail::read_repository(editor.repository_);
    if (!trust) return fail(trust);
    editor.now_state_ = std::move(*trust);
    return editor;
  }

  [[nodiscard]] detail::Documents& documents() { return now_state_; }

  Result<void> sign_targets(Json::Object targets) {
    auto& header = now_state_.targets;
    return write(Role::targets, header.version + 1, {{"targets", Json(std::move(targets))}},
                 header);
  }
  Result<void> sign_snapshot() {
    const auto meta = detail::meta_of(now_state_.targets);
    auto& header = now_state_.snapshot;
    return write(Role::snapshot, header.version + 1,
                 {{"meta", Json(Json::Object{{"targets.json", meta}})}}, header);
  }
  Result<void> sign_timestamp() {
    const auto meta = detail::meta_of(now_state_.snapshot);
    auto& header = now_state_.timestamp;
    return write(Role::timestamp, header.version + 1,
                 {{"meta", Json(Json::Object{{"snapshot.json", meta}})}}, header);
  }
  [[nodiscard]] bool is_old(Role role, WallTime expires) const {
    return now_.after(life_of(role) / 3) >= expires;
  }
  [[nodiscard]] std::string targets_dir() const { return repository_ + "/targets"; }

 private:
  Editor(const std::string& dir, WallTime now)
      : repository_(dir + "/repository"), keys_(dir + "/keys"), now_(now) {}

  static Result<update::OwnedFd> take_lock(const std::string& dir) {
    update::OwnedFd fd(::open((dir + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!fd.valid()) return update::fail_file("Cannot open the depot in " + dir, errno);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
      return fail("busy", "Another command is changing this depot", "", "Wait for it to end");
    return fd;
  }

  Result<void> write(Role role, std::int64_t version, Json::Object members,
                     detail::Document& into) {
    const WallTime expires = now_.after(life_of(role));
    const auto signers = keys_.signers(role, now_state_.root.roles.at(role));
    if (!signers) return fail(signers);
    const std::string bytes =
        detail::sign_document(role, version, expires, std::move(members), *signers);
    const std::string name = role == Role::timestamp ? "timestamp.json" : versioned(version, role);
    if (const auto kept = update::write_file_atomic(repository_ + "/" + name, bytes); !kept)
      return kept;
    into = {version, expires, bytes};
    return {};
  }

  std::string repository_;
  KeyStore keys_;
  WallTime now_;
  update::OwnedFd lock_;
  detail::Documents now_state_;
};

Result<Json> add_package(Editor& editor, const std::string& path, std::string& target_name) {
  auto package = detail::check_package(path);
  if (!package) return fail(package);
  target_name = update::package_file_name(package->manifest);
  if (const auto made = update::make_dirs(editor.targets_dir()); !made) return fail(made);
  const std::string to = editor.targets_dir() + "/" + package->sha256 + "." + target_name;
  std::error_code error;
  const std::string beside = to + ".new";
  std::filesystem::copy_file(path, beside, std::filesystem::copy_options::overwrite_existing,
                             error);
  if (error) return update::fail_file("Cannot copy " + path, error.value());
  const auto copied = detail::hash_file(beside);
  if (!copied) return fail(copied);
  if (*copied != package->sha256) return fail("io", path + " changed while it was read");
  std::filesystem::rename(beside, to, error);
  if (error) return update::fail_file("Cannot write " + to, error.value());
  if (const auto synced = update::sync_file(to); !synced) return fail(synced);
  if (const auto synced = update::sync_dir(editor.targets_dir()); !synced) return fail(synced);
  return Json(
      Json::Object{{"length", static_cast<std::int64_t>(package->bytes)},
                   {"hashes", Json(Json::Object{{"sha256", package->sha256}})},
                   {"custom", update::manifest_summary(package->manifest, package->digest)}});
}

RepositoryState report(const detail::Documents& documents, WallTime now) {
  RepositoryState out{documents.root.version,
                      documents.targets.version,
                      documents.snapshot.version,
                      documents.timestamp.version,
                      {},
                      {}};
  for (const auto& [name, target] : documents.files) {
    std::string digest;
    const auto manifest = update::parse_manifest_summary(target.custom, digest);
    if (!manifest) continue;
    out.packages.push_back({name, manifest->version.text(), manifest->kind, manifest->platform,
                            digest, static_cast<std::uint64_t>(target.length)});
  }
  if (documents.root.roles.at(Role::root).threshold == 1)
    out.warnings.emplace_back(
        "One key alone can sign everything (1 of 1). For a site that matters, use --threshold 2");
  if (now.after(hours(24 * 30)) >= documents.root.expires)
    out.warnings.push_back("The root expires at " + update::write_utc(documents.root.expires));
  return out;
}

}  // namespace

Result<RepositoryState> init_repository(const std::string& dir, Ceremony people, WallTime now) {
  if (people.threshold < 1 || people.threshold > 5)
    return fail("bad_request", "The threshold must be 1 to 5");
  const std::string repository = dir + "/repository";
  if (const auto made = update::make_dirs(repository + "/targets"); !made) return fail(made);
  KeyStore keys(dir + "/keys");
  if (const auto made = keys.make(people); !made) return fail(made);
  const auto publics = keys.public_keys();
  if (!publics) return fail(publics);
  const auto root = detail::root_members(*publics, people.threshold);
  const auto parsed_root = detail::sign_first_root(root, now.after(life_of(Role::root)), keys);
  if (!parsed_root) return fail(parsed_root);
  if (const auto kept = update::write_file_atomic(repository + "/1.root.json", *parsed_root); !kept)
    return fail(kept);
  if (const auto kept = update::write_file_atomic(dir + "/root.json", *parsed_root); !kept)
    return fail(kept);
  auto editor = Editor::open(dir, now);
  if (!editor) return fail(editor);
  auto done = editor->sign_targets({});
  if (done) done = editor->sign_snapshot();
  if (done) done = editor->sign_timestamp();
  if (!done) return fail(done);
  return report(editor->documents(), now);
}

Result<RepositoryState> publish(const std::string& dir, const std::vector<std::string>& packages,
                                WallTime now) {
  auto editor = Editor::open(dir, now);
  if (!editor) return fail(editor);
  Json::Object targets = detail::targets_member(editor->documents().targets.bytes);
  bool changed = false;
  for (const std::string& path : packages) {
    std::string name;
    auto entry = add_package(*editor, path, name);
    if (!entry) return fail(entry);
    const auto known = targets.find(name);
    if (known == targets.end()) {
      targets.emplace(name, std::move(*entry));
      changed = true;
    } else if (*known->second.find("hashes") != *entry->find("hashes")) {
      return fail("conflict", name + " is published already, with other bytes",
                  "Nothing was published", "A release never changes: give it a new version");
    }
  }
  if (changed) {
    auto done = editor->sign_targets(std::move(targets));
    if (done) done = editor->sign_snapshot();
    if (done) done = editor->sign_timestamp();
    if (!done) return fail(done);
    auto again = detail::read_repository(dir + "/repository");
    if (!again) return fail(again);
    return report(*again, now);
  }
  return report(editor->documents(), now);
}

Result<RepositoryState> refresh_timestamp(const std::string& dir, WallTime now) {
  auto editor = Editor::open(dir, now);
  if (!editor) return fail(editor);
  Result<void> done;
  const bool targets_old = editor->is_old(Role::targets, editor->documents().targets.expires);
  if (targets_old)
    done = editor->sign_targets(detail::targets_member(editor->documents().targets.bytes));
  const bool snapshot_old = editor->is_old(Role::snapshot, editor->documents().snapshot.expires);
  if (done && (targets_old || snapshot_old)) done = editor->sign_snapshot();
  if (done) done = editor->sign_timestamp();
  if (!done) return fail(done);
  return report(editor->documents(), now);
}

Result<RepositoryState> verify_repository(const std::string& dir, WallTime now) {
  const auto documents = detail::verify_as_client(dir + "/repository", now);
  if (!documents) return fail(documents);
  for (const auto& [name, target] : documents->files) {
    const std::string path = dir + "/repository/targets/" + target.sha256 + "." + name;
    const auto package = detail::check_package(path);
    if (!package) return fail(package);
    std::string digest;
    const auto summary = update::parse_manifest_summary(target.custom, digest);
    if (!summary) return fail(summary);
    if (package->bytes != static_cast<std::uint64_t>(target.length) ||
        package->sha256 != target.sha256)
      return fail("bad_hash", name + " is not the file that was signed");
    if (package->digest != digest || update::package_file_name(package->manifest) != name)
      return fail("bad_package", name + " is described otherwise than its manifest says");
  }
  return report(*documents, now);
}

}  // namespace everspan::depot
