// Who this endpoint is: its key (made here, never sent), the site that it was enrolled at, and what
// it pinned then. Files in the data folder, all 0600: `key` (the Ed25519 seed, hex), `agent.json`.
#pragma once
#include <string>
#include <vector>

#include "agent/core/grant_check.h"
#include "common/crypto.h"
#include "common/result.h"
#include "relay/end/leg_keeper.h"

namespace everspan::agent {

struct Identity {
  std::string name;
  TrustedSite site;
  std::string ca_pem;
  std::vector<relay_end::Candidate> candidates;
  std::string user;  // Sessions run as this user when the agent is root; empty: as the agent.
};

struct EnrolOptions {
  std::string site;        // https://HOST:PORT
  std::string token_file;  // es1.<id>.<secret>.<sha256 of the CA>
  std::string name;
  std::string data;
  std::string user;
};

// Makes the key, shows the token to the site whose CA the token names, and writes the files. A
// folder that is enrolled already is refused (code enrolled).
[[nodiscard]] Result<Identity> enrol(const EnrolOptions& options);

[[nodiscard]] Result<Identity> load_identity(const std::string& data);
[[nodiscard]] Result<SigningKey> load_key(const std::string& data);
[[nodiscard]] Result<void> store_identity(const std::string& data, const Identity& identity);

}  // namespace everspan::agent
