// The depot's signing keys: one file a key, hex seed, mode 0600, in a folder of mode 0700. Keys of
// root may be taken away from the machine after init; what needs one that is not there says which.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "common/crypto.h"
#include "common/result.h"
#include "update/core/metadata.h"

namespace everspan::depot {

// Threshold t of a role of people: 1 of 1, or t of t + 1.
struct Ceremony {
  int threshold = 1;
  [[nodiscard]] int keys() const { return threshold == 1 ? 1 : threshold + 1; }
};

class KeyStore {
 public:
  explicit KeyStore(std::string dir) : dir_(std::move(dir)) {}

  // Makes the keys of all roles; refuses to overwrite. Code: conflict.
  [[nodiscard]] Result<void> make(Ceremony people);
  // Public halves by role, from the files that are there.
  [[nodiscard]] Result<std::map<update::Role, std::vector<std::string>>> public_keys() const;
  // The present keys whose ids are in `keyids`; fewer than `threshold`: code missing_keys.
  [[nodiscard]] Result<std::vector<SigningKey>> signers(update::Role role,
                                                        const update::RoleKeys& keys) const;

 private:
  [[nodiscard]] Result<std::vector<SigningKey>> load(update::Role role) const;
  std::string dir_;
};

}  // namespace everspan::depot
