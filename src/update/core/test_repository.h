// A repository in memory for tests: keys, documents, signing with any keys, and a client run over
// it.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/bytes.h"
#include "common/crypto.h"
#include "update/core/tuf_core.h"

namespace everspan::update::testing {

inline constexpr WallTime kNow{1795400000000};  // 2026-11-23
inline constexpr std::int64_t kDay = 86400000;

struct KeySet {
  std::vector<const SigningKey*> keys;
  std::int64_t threshold = 1;
};

inline std::string sign(Json::Object members, Role role, std::int64_t version, WallTime expires,
                        const std::vector<const SigningKey*>& signers) {
  members.emplace("_type", role_name(role));
  members.emplace("spec_version", "1.0.34");
  members.emplace("version", version);
  members.emplace("expires", write_utc(expires));
  Json body(std::move(members));
  const std::string canonical = canonical_json(body);
  Json::Array signatures;
  for (const SigningKey* key : signers) {
    const std::string signature = key->sign(canonical);
    signatures.emplace_back(
        Json::Object{{"keyid", key_id(key->public_key())}, {"sig", to_hex(as_bytes(signature))}});
  }
  return to_json_text(
      Json(Json::Object{{"signed", std::move(body)}, {"signatures", Json(std::move(signatures))}}));
}

inline Json::Object root_body(const std::map<Role, KeySet>& roles) {
  Json::Object keys;
  Json::Object role_json;
  for (const auto& [role, set] : roles) {
    Json::Array ids;
    for (const SigningKey* key : set.keys) {
      keys.insert_or_assign(key_id(key->public_key()), key_json(key->public_key()));
      ids.emplace_back(key_id(key->public_key()));
    }
    role_json.emplace(role_name(role), Json(Json::Object{{"keyids", Json(std::move(ids))},
                                                         {"threshold", set.threshold}}));
  }
  return {{"keys", Json(std::move(keys))},
          {"roles", Json(std::move(role_json))},
          {"consistent_snapshot", true}};
}

inline Json meta(std::int64_t version, const std::string& bytes) {
  return Json(Json::Object{{"version", version},
                           {"length", static_cast<std::int64_t>(bytes.size())},
                           {"hashes", Json(Json::Object{{"sha256", sha256_hex(bytes)}})}});
}

// Everything signed by one key a role; tests replace single files.
class Repository {
 public:
  Repository() { publish(1); }

  std::map<Role, KeySet> roles() const {
    return {{Role::root, {{&root_key}, 1}},
            {Role::timestamp, {{&timestamp_key}, 1}},
            {Role::snapshot, {{&snapshot_key}, 1}},
            {Role::targets, {{&targets_key}, 1}}};
  }
  std::string root(std::int64_t version,
                   WallTime expires = kNow.after(std::chrono::hours(2400))) const {
    return sign(root_body(roles()), Role::root, version, expires, {&root_key});
  }
  // Versions of all but root.
  void publish(std::int64_t version, Json::Object targets = {},
               std::int64_t expires_in = 10 * kDay) {
    const WallTime expires{kNow.unix_ms + expires_in};
    const std::string v = std::to_string(version);
    files[v + ".targets.json"] = sign({{"targets", Json(std::move(targets))}}, Role::targets,
                                      version, expires, {&targets_key});
    publish_snapshot(version, expires);
    publish_timestamp(version, version, expires);
  }
  void publish_snapshot(std::int64_t version, WallTime expires) {
    const std::string v = std::to_string(version);
    files[v + ".snapshot.json"] = sign(
        {{"meta", Json(Json::Object{{"targets.json", meta(version, files[v + ".targets.json"])}})}},
        Role::snapshot, version, expires, {&snapshot_key});
  }
  void publish_timestamp(std::int64_t version, std::int64_t snapshot, WallTime expires) {
    files["timestamp.json"] =
        sign({{"meta", Json(Json::Object{
                           {"snapshot.json",
                            meta(snapshot, files[std::to_string(snapshot) + ".snapshot.json"])}})}},
             Role::timestamp, version, expires, {&timestamp_key});
  }

  SigningKey root_key = SigningKey::generate();
  SigningKey timestamp_key = SigningKey::generate();
  SigningKey snapshot_key = SigningKey::generate();
  SigningKey targets_key = SigningKey::generate();
  std::map<std::string, std::string> files;
};

// A client's folder in memory.
struct MemoryClient {
  StoredMetadata stored;
  std::vector<std::string> asked;
  std::optional<Targets> targets;

  Result<void> refresh(const std::map<std::string, std::string>& files, WallTime now = kNow) {
    asked.clear();
    auto core = TufCore::start(stored, now);
    if (!core) return fail(core);
    while (core->want()) {
      const std::string name = core->want()->name;
      asked.push_back(name);
      const auto file = files.find(name);
      const auto keeps =
          file == files.end() ? core->deliver(std::nullopt) : core->deliver(file->second);
      if (!keeps) return fail(keeps);
      for (const auto& keep : *keeps) store(keep);
    }
    targets = core->targets();
    return {};
  }

 private:
  void store(const TufCore::Keep& keep) {
    for (const std::string& name : keep.drop)
      (name == "timestamp.json" ? stored.timestamp : stored.snapshot).clear();
    if (keep.name == "root.json") stored.root = keep.bytes;
    if (keep.name == "timestamp.json") stored.timestamp = keep.bytes;
    if (keep.name == "snapshot.json") stored.snapshot = keep.bytes;
    if (keep.name == "targets.json") stored.targets = keep.bytes;
  }
};

}  // namespace everspan::update::testing
