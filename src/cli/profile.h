// What the CLI remembers of a site: where it is, its CA, and the tokens of its two areas. One file
// a profile, mode 0600, in $EVERSPAN_DATA/profiles or ~/.config/everspan/profiles.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "common/result.h"

namespace everspan::cli {

inline constexpr std::size_t kNodesMax = 16;

struct SavedToken {
  std::string token;
  std::string account;
  std::string expires_at;
};

struct Profile {
  std::string name;
  std::string site;  // HOST:PORT
  std::string ca_pem;
  std::vector<std::string> nodes;  // HOST:PORT of each, as the site named them; none: it is one.
  std::map<std::string, SavedToken> tokens;  // By area: "site", "appliance".
};

[[nodiscard]] Result<std::string> profile_folder();  // Not made yet.
// A profile that was never saved is empty but for its name.
[[nodiscard]] Result<Profile> load_profile(const std::string& folder, const std::string& name);
// Replaces the file at once; readers see the old or the new one.
[[nodiscard]] Result<void> save_profile(const std::string& folder, const Profile& profile);

// "https://host:8443/", "host:8443", "host" -> "host:8443". 8443 is our port.
[[nodiscard]] Result<std::string> site_address(const std::string& text);

}  // namespace everspan::cli
