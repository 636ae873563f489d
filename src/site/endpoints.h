// Enrolled endpoints, and the one-time tokens that enrol them.
//
// Invariants
//   E1  A token enrols at most `uses` endpoints before it expires; each use and its endpoint are
//       one transaction. A retry of the same enrolment (same token, key, name) runs once.
//   E2  Names are unique, whatever their case. An endpoint's id follows from its public key.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "access/core/tokens.h"
#include "site/context.h"

namespace everspan::site {

inline constexpr std::uint32_t kEnrolUsesMax = 100'000;
inline constexpr std::int64_t kEnrolSecondsMax = 90LL * 86'400;
inline constexpr std::size_t kNoteCharactersMax = 1000;

struct EndpointRecord {
  EndpointId id;
  std::string name;
  std::string public_key;  // 32 bytes, Ed25519.
  std::string platform;
  std::string release;
  std::string note;  // Of people; empty: none.
  WallTime enrolled_at;
  Revision revision;
};

struct NewEnrolToken {
  std::uint32_t uses = 1;
  std::int64_t expires_in_s = 86'400;
  std::string name;  // Empty: any name.
  std::string created_by;
};
struct MadeEnrolToken {
  std::string token;  // Secret: shown once.
  access::EnrolTokenId id;
  WallTime expires_at;
  store::Outcome outcome;
};

struct Enrolment {
  std::string token;
  std::string name;
  std::string public_key;
  std::string platform;
  std::string release;
  std::string address;
};
struct Enrolled {
  EndpointRecord endpoint;
  store::Outcome outcome;
};

// UTF-8 without control characters, at most kNoteCharactersMax. Code: bad_value.
[[nodiscard]] Result<void> check_note(std::string_view note);

class Endpoints {
 public:
  explicit Endpoints(Context& context) : site_(context) {}

  [[nodiscard]] Result<std::optional<EndpointRecord>> get(const EndpointId& id);
  [[nodiscard]] Result<std::optional<EndpointRecord>> find(std::string_view name);  // Any case.

  // The same request gives the same token again.
  [[nodiscard]] net::Task<Result<MadeEnrolToken>> make_token(NewEnrolToken wanted,
                                                             WriteOptions options);
  // Free text for people; empty takes it away. Codes: feature_not_yet (the site's level is below
  // Feature::endpoint_notes), bad_value, not_found, conflict.
  [[nodiscard]] net::Task<Result<store::Outcome>> set_note(std::string name, std::string note,
                                                           WriteOptions options);
  // Codes: bad_token (unknown, used up, expired, for another site or name), bad_name, bad_request,
  // conflict (name or key is enrolled already).
  [[nodiscard]] net::Task<Result<Enrolled>> enrol(Enrolment asked);
  // Code not_found.
  [[nodiscard]] net::Task<Result<store::Outcome>> remove(std::string name, WriteOptions options);

 private:
  Context& site_;
};

}  // namespace everspan::site
