#include "depot/detail/signer.h"

#include "common/bytes.h"
#include "common/crypto.h"
#include "update/core/tuf_core.h"
#include "update/files.h"
#include "update/limits.h"

namespace everspan::depot::detail {
namespace {

using update::Json;
using update::Role;

constexpr std::string_view kSpecVersion = "1.0.34";

// Runs the client's workflow over the folder, in memory.
Result<Documents> run(const std::string& repository, WallTime now) {
  auto first = update::read_file(repository + "/1.root.json", update::kRootBytesMax);
  if (!first)
    return fail("no_repository", "There is no repository in " + repository, "",
                "Make one with `everspan-depot init --dir DIR`");
  update::StoredMetadata stored;
  stored.root = std::move(*first);
  auto core = update::TufCore::start(std::move(stored), now);
  if (!core) return fail(core);
  Documents out;
  while (core->want()) {
    const update::TufCore::Want want = *core->want();
    auto bytes = update::read_file(repository + "/" + want.name, want.bytes_max);
    if (!bytes && bytes.error().code != "not_found") return fail(bytes);
    const auto keeps = bytes ? core->deliver(*bytes) : core->deliver(std::nullopt);
    if (!keeps) return fail(keeps);
    for (const auto& keep : *keeps) {
      Document* into = keep.name == "timestamp.json"  ? &out.timestamp
                       : keep.name == "snapshot.json" ? &out.snapshot
                       : keep.name == "targets.json"  ? &out.targets
                                                      : nullptr;
      if (into == nullptr) continue;
      const auto envelope = update::parse_envelope(keep.bytes, update::kTargetsBytesMax);
      if (!envelope) return fail(envelope);
      const auto version = update::need_number(envelope->signed_part, "version", "bad_metadata");
      const auto expires = update::need_text(envelope->signed_part, "expires", "bad_metadata");
      if (!version) return fail(version);
      if (!expires) return fail(expires);
      const auto time = update::parse_utc(*expires);
      if (!time) return fail(time);
      *into = {*version, *time, keep.bytes};
    }
  }
  out.root = core->root();
  out.files = core->targets().files;
  return out;
}

}  // namespace

std::string sign_document(Role role, std::int64_t version, WallTime expires, Json::Object members,
                          const std::vector<SigningKey>& signers) {
  members.emplace("_type", update::role_name(role));
  members.emplace("spec_version", kSpecVersion);
  members.emplace("version", version);
  members.emplace("expires", update::write_utc(expires));
  Json body(std::move(members));
  const std::string canonical = update::canonical_json(body);
  Json::Array signatures;
  for (const SigningKey& key : signers) {
    const std::string signature = key.sign(canonical);
    signatures.emplace_back(Json::Object{{"keyid", update::key_id(key.public_key())},
                                         {"sig", to_hex(as_bytes(signature))}});
  }
  return update::to_json_text(
      Json(Json::Object{{"signed", std::move(body)}, {"signatures", Json(std::move(signatures))}}));
}

Json meta_of(const Document& document) {
  return Json(Json::Object{{"version", document.version},
                           {"length", static_cast<std::int64_t>(document.bytes.size())},
                           {"hashes", Json(Json::Object{{"sha256", sha256_hex(document.bytes)}})}});
}

Json::Object root_members(const std::map<Role, std::vector<std::string>>& publics, int threshold) {
  Json::Object keys;
  Json::Object roles;
  for (const auto& [role, list] : publics) {
    Json::Array ids;
    for (const std::string& key : list) {
      keys.emplace(update::key_id(key), update::key_json(key));
      ids.emplace_back(update::key_id(key));
    }
    const bool of_people = role == Role::root || role == Role::targets;
    roles.emplace(update::role_name(role),
                  Json(Json::Object{{"keyids", Json(std::move(ids))},
                                    {"threshold", std::int64_t{of_people ? threshold : 1}}}));
  }
  return Json::Object{{"keys", Json(std::move(keys))},
                      {"roles", Json(std::move(roles))},
                      {"consistent_snapshot", true}};
}

Result<std::string> sign_first_root(const Json::Object& members, WallTime expires,
                                    const KeyStore& keys) {
  const std::string draft = sign_document(Role::root, 1, expires, members, {});
  const auto envelope = update::parse_envelope(draft, update::kRootBytesMax);
  if (!envelope) return fail(envelope);
  const auto root = update::parse_root(*envelope);
  if (!root) return fail(root);
  const auto signers = keys.signers(Role::root, root->roles.at(Role::root));
  if (!signers) return fail(signers);
  return sign_document(Role::root, 1, expires, members, *signers);
}

Json::Object targets_member(std::string_view targets_bytes) {
  const auto envelope = update::parse_envelope(targets_bytes, update::kTargetsBytesMax);
  if (!envelope) return {};
  const Json* targets = envelope->signed_part.find("targets");
  return targets == nullptr || targets->object() == nullptr ? Json::Object{} : *targets->object();
}

Result<Documents> read_repository(const std::string& repository) {
  auto documents = run(repository, WallTime{});
  // A new repository has a root only.
  if (documents || documents.error().code != "missing_metadata") return documents;
  auto bytes = update::read_file(repository + "/1.root.json", update::kRootBytesMax);
  if (!bytes) return fail(bytes);
  if (update::read_file(repository + "/timestamp.json", update::kTimestampBytesMax))
    return documents;
  const auto envelope = update::parse_envelope(*bytes, update::kRootBytesMax);
  if (!envelope) return fail(envelope);
  auto root = update::parse_root(*envelope);
  if (!root) return fail(root);
  Documents out;
  out.root = std::move(*root);
  return out;
}

Result<Documents> verify_as_client(const std::string& repository, WallTime now) {
  return run(repository, now);
}

}  // namespace everspan::depot::detail
