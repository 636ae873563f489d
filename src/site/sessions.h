// The directory of sessions: opened by a person at the API, ended by one signed tombstone.
//
// Invariants
//   S1  A session's id, grant and tombstone are fixed by its record: asked again, they are the
//       same.
//   S2  A session ends once; later ends get the first tombstone.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "access/core/grant.h"
#include "site/context.h"
#include "site/endpoints.h"

namespace everspan::site {

struct SessionOpening {
  std::string endpoint;  // Name.
  std::string person;
  std::string console_key;  // 32 bytes, Ed25519.
  std::vector<std::string> rights;
  std::string reason;
  std::string address;  // Where it was asked for from.
};
struct OpenedSession {
  SessionId id;
  EndpointId endpoint;
  std::string signed_grant;  // Serialised SignedGrant.
  WallTime expires_at;       // For the first attach.
  store::Outcome outcome;
};

struct SessionFacts {
  SessionId id;
  EndpointId endpoint;
  std::string endpoint_name;
  std::string person;
  std::string recording;
  std::uint32_t ttl_s = 0;
  WallTime opened_at;
  bool ended = false;
  std::string signed_tombstone;  // Serialised SignedTombstone, when ended.
  std::string end_reason;
  WallTime ended_at;
};
struct SessionEnd {
  SessionId id;
  std::string reason;  // "ended by alice", "time to live", "process ended".
  std::uint64_t bytes_c2a = 0;
  std::uint64_t bytes_a2c = 0;
};
struct EndedSession {
  std::string signed_tombstone;
  std::string reason;
  store::Outcome outcome;
  bool was_ended = false;  // It had ended before.
};

inline constexpr std::size_t kEndedSessionsMax = 200'000;  // About 100 MB of log and read model.

class Sessions {
 public:
  explicit Sessions(Context& context) : site_(context) {}

  // Codes: not_found (endpoint), bad_rights, bad_request,
  // refused (asked again after it ended), conflict (the request id was used for another session).
  [[nodiscard]] net::Task<Result<OpenedSession>> open(SessionOpening asked, WriteOptions options);
  [[nodiscard]] net::Task<Result<EndedSession>> end(SessionEnd asked, WriteOptions options);
  // Ids of ended sessions that may be forgotten (session.keep_ended_s, or more than
  // kEndedSessionsMax of them), the oldest first, as many as one transaction takes.
  [[nodiscard]] Result<std::vector<SessionId>> forgettable();
  // Their records go. Only what forgettable() gave: a session that lives is not asked for.
  [[nodiscard]] net::Task<Result<store::Outcome>> forget(std::vector<SessionId> ids);
  // One record from the log: cheap enough for each attach. nullopt: never opened here.
  [[nodiscard]] Result<std::optional<SessionFacts>> find(const SessionId& id);

 private:
  [[nodiscard]] Result<std::string> signed_grant(const std::string& record_bytes);
  Context& site_;
};

}  // namespace everspan::site
