#include "update/core/metadata.h"

#include <chrono>
#include <cstdio>

#include "common/bytes.h"
#include "common/crypto.h"
#include "update/limits.h"

namespace everspan::update {
namespace {

constexpr const char* kCode = "bad_metadata";
constexpr std::size_t kSignaturesMax = 256;
constexpr std::size_t kKeysMax = 1024;

[[nodiscard]] std::unexpected<Error> bad(std::string what) {
  return fail(kCode, "Malformed update metadata: " + std::move(what));
}

Result<void> read_header(const Json& object, Role role, Header& out) {
  const auto type = need_text(object, "_type", kCode);
  const auto spec = need_text(object, "spec_version", kCode);
  const auto version = need_number(object, "version", kCode);
  const auto expires = need_text(object, "expires", kCode);
  if (!type) return fail(type);
  if (!spec) return fail(spec);
  if (!version) return fail(version);
  if (!expires) return fail(expires);
  if (*type != role_name(role)) return bad("it is not of the role that was asked for");
  if (!spec->starts_with("1.")) return bad("its specification is not 1.x");
  if (*version < 1) return bad("a version below 1");
  const auto time = parse_utc(*expires);
  if (!time) return fail(time);
  out.version = *version;
  out.expires = *time;
  return {};
}

PublicKey read_key(const Json& key) {
  const Json* type = key.find("keytype");
  const Json* scheme = key.find("scheme");
  const Json* value = key.find("keyval");
  const Json* text = value == nullptr ? nullptr : value->find("public");
  const auto is = [](const Json* json, std::string_view word) {
    return json != nullptr && json->text() != nullptr && *json->text() == word;
  };
  if (!is(type, "ed25519") || !is(scheme, "ed25519")) return {};
  if (text == nullptr || text->text() == nullptr) return {};
  auto raw = from_hex(*text->text());
  if (!raw || raw->size() != 32) return {};
  return {std::move(*raw)};
}

Result<RoleKeys> read_role(const Json& role) {
  RoleKeys out;
  const auto threshold = need_number(role, "threshold", kCode);
  if (!threshold) return fail(threshold);
  if (*threshold < 1) return bad("a threshold below 1");
  out.threshold = *threshold;
  const Json* ids = role.find("keyids");
  if (ids == nullptr || ids->array() == nullptr || ids->array()->size() > kKeysMax)
    return bad("a role without key ids");
  for (const Json& id : *ids->array()) {
    if (id.text() == nullptr) return bad("a key id that is no text");
    if (!out.keyids.insert(*id.text()).second) return bad("a role names a key twice");
  }
  return out;
}

Result<FileMeta> read_file_meta(const Json& entry) {
  FileMeta out;
  const auto version = need_number(entry, "version", kCode);
  if (!version) return fail(version);
  if (*version < 1) return bad("a version below 1");
  out.version = *version;
  if (const Json* length = entry.find("length"); length != nullptr) {
    if (length->number() == nullptr || *length->number() < 1) return bad("a bad length");
    out.length = *length->number();
  }
  if (const Json* hashes = entry.find("hashes"); hashes != nullptr) {
    if (hashes->object() == nullptr || hashes->object()->empty()) return bad("no hashes");
    for (const auto& [name, hash] : *hashes->object()) {
      if (hash.text() == nullptr) return bad("a hash that is no text");
      out.hashes.emplace(name, *hash.text());
    }
  }
  return out;
}

Result<TargetFile> read_target(const Json& entry) {
  TargetFile out;
  const auto length = need_number(entry, "length", kCode);
  if (!length) return fail(length);
  if (*length < 0) return bad("a target of negative length");
  out.length = *length;
  const Json* hashes = entry.find("hashes");
  if (hashes == nullptr || hashes->object() == nullptr || hashes->object()->empty())
    return bad("a target without hashes");
  if (const Json* hash = hashes->find("sha256"); hash != nullptr && hash->text() != nullptr)
    out.sha256 = *hash->text();
  if (const Json* hash = hashes->find("sha512"); hash != nullptr && hash->text() != nullptr)
    out.sha512 = *hash->text();
  if (const Json* custom = entry.find("custom"); custom != nullptr) out.custom = *custom;
  return out;
}

constexpr std::pair<Role, std::string_view> kRoles[] = {{Role::root, "root"},
                                                        {Role::timestamp, "timestamp"},
                                                        {Role::snapshot, "snapshot"},
                                                        {Role::targets, "targets"}};

}  // namespace

std::string_view role_name(Role role) {
  for (const auto& [known, name] : kRoles)
    if (known == role) return name;
  return "?";
}

Result<Envelope> parse_envelope(std::string_view bytes, std::size_t bytes_max) {
  auto json = parse_json(bytes, {.bytes_max = bytes_max});
  if (!json && json.error().code == "too_large") return fail(json);
  if (!json) return bad(json.error().message);
  const Json* signed_part = json->find("signed");
  const Json* signatures = json->find("signatures");
  if (signed_part == nullptr || signed_part->object() == nullptr) return bad("'signed' is missing");
  if (signatures == nullptr || signatures->array() == nullptr ||
      signatures->array()->size() > kSignaturesMax)
    return bad("'signatures' is missing");
  Envelope out;
  std::set<std::string> seen;
  for (const Json& entry : *signatures->array()) {
    const auto id = need_text(entry, "keyid", kCode);
    const auto hex = need_text(entry, "sig", kCode);
    if (!id) return fail(id);
    if (!hex) return fail(hex);
    if (!seen.insert(*id).second) return bad("a key signed twice");
    auto raw = from_hex(*hex);
    // Signatures of other kinds of keys may be written otherwise; they never count.
    out.signatures.emplace_back(*id, raw ? std::move(*raw) : std::string());
  }
  out.signed_bytes = canonical_json(*signed_part);
  out.signed_part = *signed_part;
  return out;
}

Result<Root> parse_root(const Envelope& envelope) {
  const Json& json = envelope.signed_part;
  Root out;
  if (const auto header = read_header(json, Role::root, out); !header) return fail(header);
  if (const Json* flag = json.find("consistent_snapshot"); flag != nullptr) {
    if (flag->boolean() == nullptr) return bad("'consistent_snapshot' is no flag");
    out.consistent_snapshot = *flag->boolean();
  }
  const Json* keys = json.find("keys");
  const Json* roles = json.find("roles");
  if (keys == nullptr || keys->object() == nullptr || keys->object()->size() > kKeysMax)
    return bad("'keys' is missing");
  for (const auto& [id, key] : *keys->object()) out.keys.emplace(id, read_key(key));
  for (const auto& [role, name] : kRoles) {
    const Json* entry = roles == nullptr ? nullptr : roles->find(name);
    if (entry == nullptr) return bad("the role '" + std::string(name) + "' is missing");
    auto role_keys = read_role(*entry);
    if (!role_keys) return fail(role_keys);
    out.roles.emplace(role, std::move(*role_keys));
  }
  return out;
}

Result<Timestamp> parse_timestamp(const Envelope& envelope) {
  Timestamp out;
  if (const auto header = read_header(envelope.signed_part, Role::timestamp, out); !header)
    return fail(header);
  const Json* meta = envelope.signed_part.find("meta");
  const Json* entry = meta == nullptr ? nullptr : meta->find("snapshot.json");
  if (entry == nullptr) return bad("the timestamp names no snapshot");
  auto file = read_file_meta(*entry);
  if (!file) return fail(file);
  out.snapshot = std::move(*file);
  return out;
}

Result<Snapshot> parse_snapshot(const Envelope& envelope) {
  Snapshot out;
  if (const auto header = read_header(envelope.signed_part, Role::snapshot, out); !header)
    return fail(header);
  const Json* meta = envelope.signed_part.find("meta");
  if (meta == nullptr || meta->object() == nullptr) return bad("the snapshot names no files");
  for (const auto& [name, entry] : *meta->object()) {
    auto file = read_file_meta(entry);
    if (!file) return fail(file);
    out.files.emplace(name, std::move(*file));
  }
  return out;
}

Result<Targets> parse_targets(const Envelope& envelope) {
  Targets out;
  if (const auto header = read_header(envelope.signed_part, Role::targets, out); !header)
    return fail(header);
  const Json* targets = envelope.signed_part.find("targets");
  if (targets == nullptr || targets->object() == nullptr) return bad("'targets' is missing");
  for (const auto& [name, entry] : *targets->object()) {
    auto file = read_target(entry);
    if (!file) return fail(file);
    out.files.emplace(name, std::move(*file));
  }
  return out;
}

Result<void> check_signatures(const Envelope& envelope, const Root& root, Role role) {
  const RoleKeys& keys = root.roles.at(role);
  std::set<std::string> good;  // By key, not by keyid: one key under two ids is one signer.
  bool known_key = false;
  for (const auto& [id, signature] : envelope.signatures) {
    if (!keys.keyids.contains(id)) continue;
    const auto key = root.keys.find(id);
    if (key == root.keys.end() || key->second.ed25519.empty()) continue;
    known_key = true;
    if (verify_signature(key->second.ed25519, envelope.signed_bytes, signature))
      good.insert(key->second.ed25519);
  }
  if (static_cast<std::int64_t>(good.size()) >= keys.threshold) return {};
  const std::string name(role_name(role));
  if (!known_key)
    return fail("unknown_key",
                "The " + name + " metadata is not signed by any key that is trusted for it",
                "Nothing was changed", "Check that the update source is the right one");
  return fail("bad_signature",
              "The " + name + " metadata has " + std::to_string(good.size()) +
                  " good signatures of " + std::to_string(keys.threshold) + " needed",
              "Nothing was changed");
}

Result<void> check_file(std::string_view bytes, const FileMeta& meta, std::string_view name) {
  if (meta.length) {
    const auto length = static_cast<std::uint64_t>(*meta.length);
    if (bytes.size() > length)
      return fail("too_large", std::string(name) + " is longer than signed for");
    if (bytes.size() < length)
      return fail("truncated", std::string(name) + " is shorter than signed for");
  }
  const auto sha256 = meta.hashes.find("sha256");
  if (sha256 != meta.hashes.end() && sha256_hex(bytes) != sha256->second)
    return fail("bad_hash", std::string(name) + " has another SHA-256 than signed for");
  return {};
}

Result<WallTime> parse_utc(std::string_view text) {
  static constexpr std::string_view kShape = "0000-00-00T00:00:00Z";
  bool good = text.size() == kShape.size();
  for (std::size_t i = 0; good && i < kShape.size(); ++i)
    good = kShape[i] == '0' ? text[i] >= '0' && text[i] <= '9' : text[i] == kShape[i];
  if (!good) return bad("a time must look like 2026-11-23T02:10:51Z");
  const auto number = [&](std::size_t at, std::size_t size) {
    int value = 0;
    for (const char c : text.substr(at, size)) value = value * 10 + (c - '0');
    return value;
  };
  const std::chrono::year_month_day date{std::chrono::year(number(0, 4)),
                                         std::chrono::month(static_cast<unsigned>(number(5, 2))),
                                         std::chrono::day(static_cast<unsigned>(number(8, 2)))};
  const int hour = number(11, 2);
  const int minute = number(14, 2);
  const int second = number(17, 2);
  if (!date.ok() || hour > 23 || minute > 59 || second > 60) return bad("there is no such time");
  const auto days = std::chrono::sys_days(date).time_since_epoch();
  const std::int64_t seconds =
      std::int64_t{days.count()} * 86400 + hour * 3600 + minute * 60 + second;
  return WallTime{seconds * 1000};
}

std::string write_utc(WallTime time) {
  return to_iso8601(WallTime{time.unix_ms / 1000 * 1000}).substr(0, 19) + "Z";
}

Json key_json(std::string_view ed25519_public) {
  return Json(
      Json::Object{{"keytype", "ed25519"},
                   {"scheme", "ed25519"},
                   {"keyval", Json(Json::Object{{"public", to_hex(as_bytes(ed25519_public))}})}});
}

std::string key_id(std::string_view ed25519_public) {
  return sha256_hex(canonical_json(key_json(ed25519_public)));
}

}  // namespace everspan::update
