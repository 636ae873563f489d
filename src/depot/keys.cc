#include "depot/keys.h"

#include <sys/stat.h>

#include <cerrno>

#include "common/bytes.h"
#include "update/files.h"

namespace everspan::depot {
namespace {

using update::Role;

constexpr int kKeysMax = 16;
constexpr Role kRoles[] = {Role::root, Role::targets, Role::snapshot, Role::timestamp};

std::string file_name(Role role, int index) {
  return std::string(update::role_name(role)) + "-" + std::to_string(index) + ".key";
}

}  // namespace

Result<void> KeyStore::make(Ceremony people) {
  if (::mkdir(dir_.c_str(), 0700) != 0) {
    if (errno != EEXIST) return update::fail_file("Cannot make the folder " + dir_, errno);
    return fail("conflict", "There are keys in " + dir_ + " already", "They are unchanged",
                "Choose another folder");
  }
  for (const Role role : kRoles) {
    const bool of_people = role == Role::root || role == Role::targets;
    const int count = of_people ? people.keys() : 1;
    for (int i = 1; i <= count; ++i) {
      std::string seed = SigningKey::generate().seed();
      std::string text = to_hex(as_bytes(seed)) + "\n";
      const auto kept = update::write_file_atomic(dir_ + "/" + file_name(role, i), text, 0600);
      wipe(seed);
      wipe(text);
      if (!kept) return kept;
    }
  }
  return {};
}

Result<std::vector<SigningKey>> KeyStore::load(Role role) const {
  std::vector<SigningKey> out;
  for (int i = 1; i <= kKeysMax; ++i) {
    const std::string path = dir_ + "/" + file_name(role, i);
    auto text = update::read_file(path, 256);
    if (!text && text.error().code == "not_found") continue;
    if (!text) return fail(text);
    while (text->ends_with('\n')) text->pop_back();
    auto seed = from_hex(*text);
    wipe(*text);
    if (!seed) return fail("bad_key", path + " holds no key");
    auto key = SigningKey::from_seed(*seed);
    wipe(*seed);
    if (!key) return fail("bad_key", path + " holds no key");
    out.push_back(std::move(*key));
  }
  return out;
}

Result<std::map<Role, std::vector<std::string>>> KeyStore::public_keys() const {
  std::map<Role, std::vector<std::string>> out;
  for (const Role role : kRoles) {
    const auto keys = load(role);
    if (!keys) return fail(keys);
    for (const SigningKey& key : *keys) out[role].push_back(key.public_key());
  }
  return out;
}

Result<std::vector<SigningKey>> KeyStore::signers(Role role, const update::RoleKeys& keys) const {
  auto present = load(role);
  if (!present) return present;
  std::erase_if(*present, [&](const SigningKey& key) {
    return !keys.keyids.contains(update::key_id(key.public_key()));
  });
  if (static_cast<std::int64_t>(present->size()) < keys.threshold)
    return fail("missing_keys",
                "Signing as " + std::string(update::role_name(role)) + " needs " +
                    std::to_string(keys.threshold) + " keys; " + std::to_string(present->size()) +
                    " are in " + dir_,
                "Nothing was changed", "Bring the missing key files back for this command");
  return present;
}

}  // namespace everspan::depot
