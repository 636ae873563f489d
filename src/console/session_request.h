// Asks the site for a session: POST /api/v1/sessions.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "common/crypto.h"
#include "common/result.h"
#include "console/connect.h"
#include "relay/end/leg_keeper.h"

namespace everspan::console {

struct GrantedSession {
  std::string session_id;    // 16 bytes
  std::string signed_grant;  // Serialised SignedGrant
  std::vector<relay_end::Candidate> candidates;
  bool strict = true;
  Duration ttl = std::chrono::minutes(15);
};

struct SessionWish {
  std::string endpoint;
  std::vector<std::string> rights;
  std::string reason;
  std::string via;  // Node that the first leg dials (core/via.h); empty: as the site says.
  std::function<void(const std::string&)> notice;  // Another node was asked.
};

// Codes: those of http::SiteClient and of the API; no_such_node, ambiguous.
[[nodiscard]] Result<GrantedSession> request_session(const Site& site, const SessionWish& wish,
                                                     const SigningKey& console_key);
// Fills in what the grant itself says.
[[nodiscard]] Result<void> read_grant(GrantedSession& session);

}  // namespace everspan::console
