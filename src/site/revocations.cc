#include "site/revocations.h"

#include "proto/records.pb.h"
#include "site/feature_level.h"
#include "site/records.h"

namespace everspan::site {
namespace {

access::Standing standing_of(const pb::Account* account) {
  if (account == nullptr) return {};
  return {.account = true,
          .disabled = account->disabled(),
          .scopes = {account->scopes().begin(), account->scopes().end()},
          .revocation = {}};
}

}  // namespace

Result<access::Standing> Revocations::standing(const std::string& person) {
  const std::string key = account_key(access::Area::site, site_.node, person);
  const auto record = site_.log.get(kKindAccount, key);
  if (!record) return fail(record);
  access::Standing out;
  if (*record) {
    const auto account = parse_record<pb::Account>(kKindAccount, (*record)->bytes);
    if (!account) return fail(account);
    out = standing_of(&*account);
  }
  const auto revoked = site_.log.get(kKindRevocation, key);
  if (!revoked) return fail(revoked);
  if (!*revoked) return out;
  const auto stored = parse_record<pb::Revocation>(kKindRevocation, (*revoked)->bytes);
  if (!stored) return fail(stored);
  out.revocation = {(*revoked)->revision, stored->reason()};
  return out;
}

// The list first, then what is said of each person: what changes in between is newer than the
// session, so it can only end one that must end.
Result<std::vector<VoidSession>> Revocations::void_sessions() {
  if (auto fresh = site_.catalog.refresh(); !fresh) return fail(fresh);
  const auto live = site_.catalog.live_sessions();
  if (!live) return fail(live);
  std::vector<VoidSession> out;
  std::optional<std::string> person;
  access::Standing now;
  for (const Catalog::LiveSession& session : *live) {
    if (person != session.person) {
      auto found = standing(session.person);
      if (!found) return fail(found);
      now = std::move(*found);
      person = session.person;
    }
    if (auto why = access::why_void(now, session.opened))
      out.push_back({session.id, session.person, std::move(*why)});
  }
  return out;
}

Result<std::optional<store::Write>> Revocations::write_for(const pb::Account* before,
                                                           const pb::Account* after,
                                                           const std::string& by) {
  const auto why = access::why_revoked(standing_of(before), standing_of(after));
  if (!why) return std::nullopt;
  const auto level = stored_feature_level(site_.log);
  if (!level) return fail(level);
  if (!features::allowed(*level, features::Feature::revocations)) return std::nullopt;
  pb::Revocation record;
  record.set_reason(*why);
  record.set_by(by);
  record.set_at_ms(site_.now().unix_ms);
  const std::string& name = (before != nullptr ? before : after)->name();
  return store::Write::put(std::string(kKindRevocation),
                           account_key(access::Area::site, site_.node, name),
                           record.SerializeAsString());
}

}  // namespace everspan::site
