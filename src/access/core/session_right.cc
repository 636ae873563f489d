#include "access/core/session_right.h"

#include <algorithm>

namespace everspan::access {
namespace {

constexpr const char* kRemoved = "the account was removed";
constexpr const char* kDisabled = "the account was disabled";
constexpr const char* kScopeTaken = "the right to have sessions was taken away";

const char* why_not(const Standing& now) {
  if (!now.account) return kRemoved;
  return now.disabled ? kDisabled : kScopeTaken;
}

}  // namespace

bool may_have_sessions(const Standing& now) {
  return now.account && !now.disabled &&
         std::ranges::find(now.scopes, "sessions") != now.scopes.end();
}

std::optional<std::string> why_void(const Standing& now, Revision opened) {
  if (now.revocation && opened < now.revocation->revision) return now.revocation->reason;
  if (!may_have_sessions(now)) return why_not(now);
  return std::nullopt;
}

std::optional<std::string> why_revoked(const Standing& before, const Standing& after) {
  const bool could = may_have_sessions(before);
  if (could == may_have_sessions(after)) return std::nullopt;
  return why_not(could ? after : before);  // What began ends what was opened while it was not.
}

}  // namespace everspan::access
