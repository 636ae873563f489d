#include "site/sessions.h"

#include <algorithm>

#include "access/core/scopes.h"
#include "common/crypto.h"
#include "proto/records.pb.h"
#include "site/records.h"
#include "site/settings.h"

namespace everspan::site {
namespace {

constexpr std::size_t kReasonBytesMax = 500;
constexpr std::size_t kForgottenAtOnce = 64;  // Operations of a transaction.

SessionId id_of(const std::string& request_key, const RequestId& request) {
  const std::string derived = derive_secret(request_key, "session", request);
  SessionId id;
  std::copy_n(derived.begin(), id.bytes.size(), id.bytes.begin());
  return id;
}

bool same_request(const pb::SessionRecord& stored, const SessionOpening& asked) {
  return lower_case(stored.endpoint_name()) == lower_case(asked.endpoint) &&
         stored.person() == asked.person && stored.console_key() == asked.console_key &&
         std::ranges::equal(stored.rights(), asked.rights);
}

Result<SessionFacts> facts_of(std::string_view bytes) {
  const auto stored = parse_record<pb::SessionRecord>(kKindSession, bytes);
  if (!stored) return fail(stored);
  const auto id = SessionId::from_raw(stored->id());
  const auto endpoint = EndpointId::from_raw(stored->endpoint_id());
  if (!id) return fail(id);
  if (!endpoint) return fail(endpoint);
  return SessionFacts{.id = *id,
                      .endpoint = *endpoint,
                      .endpoint_name = stored->endpoint_name(),
                      .person = stored->person(),
                      .recording = recording_word(*stored),
                      .ttl_s = stored->ttl_s(),
                      .opened_at = {stored->opened_at_ms()},
                      .ended = stored->has_tombstone(),
                      .signed_tombstone = stored->tombstone().signed_tombstone(),
                      .end_reason = stored->tombstone().reason(),
                      .ended_at = {stored->tombstone().ended_at_ms()}};
}

// "off" is stored as "metadata" with a mark beside it, for processes of older releases.
void set_recording(pb::SessionRecord& record, const std::string& word) {
  const bool off = word == access::kRecordingOff;
  record.set_recording(off ? std::string(access::kRecordingMetadata) : word);
  record.set_recording_off(off);
}

// How long the session goes on for an end without a leg, and for the site without any end: one
// number, in the grant (docs/decisions/2026-11-27-revocations.md).
std::uint32_t time_to_live(Settings& settings) {
  const std::int64_t least =
      std::min(settings.number("session.ttl_s"), settings.number("session.max_offline_s"));
  return static_cast<std::uint32_t>(std::max<std::int64_t>(least, access::kSessionTtlSecondsMin));
}

Result<void> check_opening(const SessionOpening& asked) {
  if (auto good = access::check_rights(asked.rights); !good) return good;
  if (asked.console_key.size() != 32)
    return fail("bad_request", "A console key has 32 bytes (Ed25519)");
  if (asked.reason.size() > kReasonBytesMax)
    return fail("bad_request", "A reason has at most 500 bytes");
  return {};
}

}  // namespace

Result<std::string> Sessions::signed_grant(const std::string& record_bytes) {
  const auto stored = parse_record<pb::SessionRecord>(kKindSession, record_bytes);
  if (!stored) return fail(stored);
  const auto id = SessionId::from_raw(stored->id());
  const auto endpoint = EndpointId::from_raw(stored->endpoint_id());
  if (!id) return fail(id);
  if (!endpoint) return fail(endpoint);
  const access::GrantClaims claims{.site = site_.identity.id,
                                   .session = *id,
                                   .endpoint = *endpoint,
                                   .person = stored->person(),
                                   .console_key = stored->console_key(),
                                   .rights = {stored->rights().begin(), stored->rights().end()},
                                   .not_before = {stored->opened_at_ms()},
                                   .not_after = {stored->grant_not_after_ms()},
                                   .epoch = {stored->epoch()},
                                   .recording = recording_word(*stored),
                                   .ttl_s = stored->ttl_s()};
  return access::sign_grant(claims, site_.secrets.grant_key);
}

net::Task<Result<OpenedSession>> Sessions::open(SessionOpening asked, WriteOptions options) {
  if (auto good = check_opening(asked); !good) co_return fail(good);
  const SessionId id = id_of(site_.secrets.request_key, options.request_id);
  auto record = site_.log.get(kKindSession, id.hex());
  if (!record) co_return fail(record);
  store::Outcome outcome;
  if (!*record) {
    const auto endpoint = Endpoints(site_).find(asked.endpoint);
    if (!endpoint) co_return fail(endpoint);
    if (!*endpoint)
      co_return fail("not_found", "There is no endpoint " + printable(asked.endpoint, 80));
    const auto meta = site_.log.meta();
    if (!meta) co_return fail(meta);
    Settings settings(site_);
    const WallTime now = site_.now();
    pb::SessionRecord fresh;
    fresh.set_id(id.raw());
    fresh.set_endpoint_id((*endpoint)->id.raw());
    fresh.set_endpoint_name((*endpoint)->name);
    fresh.set_person(asked.person);
    for (const std::string& right : asked.rights) fresh.add_rights(right);
    fresh.set_reason(asked.reason);
    fresh.set_address(asked.address);
    fresh.set_opened_at_ms(now.unix_ms);
    fresh.set_grant_not_after_ms(
        now.after(std::chrono::seconds(settings.number("session.grant_ttl_s"))).unix_ms);
    set_recording(fresh, settings.text("session.recording"));
    fresh.set_ttl_s(time_to_live(settings));
    fresh.set_console_key(asked.console_key);
    fresh.set_epoch(meta->epoch.value);
    store::Transaction transaction;
    transaction.request_id = options.request_id;
    transaction.writes.push_back(store::Write::put(std::string(kKindSession), id.hex(),
                                                   fresh.SerializeAsString(), Revision{0}));
    const auto written = co_await site_.writer.submit(std::move(transaction));
    if (!written) co_return fail(written);
    outcome = *written;
    record = site_.log.get(kKindSession, id.hex());
    if (!record) co_return fail(record);
    if (!*record) co_return fail("not_found", "The session is gone");
  } else {
    const auto before = site_.log.outcome(options.request_id);
    if (!before) co_return fail(before);
    if (*before) outcome = **before;
    outcome.repeated = true;
  }
  const auto stored = parse_record<pb::SessionRecord>(kKindSession, (*record)->bytes);
  if (!stored) co_return fail(stored);
  if (!same_request(*stored, asked))
    co_return fail("conflict", "This Idempotency-Key was used for another request",
                   "Nothing was changed", "Use a new key for a new request");
  if (stored->has_tombstone())
    co_return fail("refused", "This session has ended", "", "Open a new one");
  auto grant = signed_grant((*record)->bytes);
  if (!grant) co_return fail(grant);
  const auto endpoint = EndpointId::from_raw(stored->endpoint_id());
  if (!endpoint) co_return fail(endpoint);
  co_return OpenedSession{
      id, *endpoint, std::move(*grant), {stored->grant_not_after_ms()}, std::move(outcome)};
}

net::Task<Result<EndedSession>> Sessions::end(SessionEnd asked, WriteOptions options) {
  const WallTime now = site_.now();
  const std::string tombstone = access::sign_tombstone(
      {site_.identity.id, asked.id, asked.reason, now}, site_.secrets.grant_key);
  const auto change = [tombstone, asked,
                       now](const std::optional<std::string>& bytes) -> Result<std::string> {
    auto record = parse_record<pb::SessionRecord>(kKindSession, bytes ? *bytes : "");
    if (!record) return fail(record);
    if (record->has_tombstone()) return fail("ended", "The session has ended already");
    auto& end = *record->mutable_tombstone();
    end.set_signed_tombstone(tombstone);
    end.set_reason(asked.reason.substr(0, kReasonBytesMax));
    end.set_ended_at_ms(now.unix_ms);
    record->set_bytes_c2a(asked.bytes_c2a);
    record->set_bytes_a2c(asked.bytes_a2c);
    return record->SerializeAsString();
  };
  auto outcome = co_await update_record(site_.log, site_.writer, std::string(kKindSession),
                                        asked.id.hex(), change, true, options);
  const bool was_ended = !outcome && outcome.error().code == "ended";
  if (!outcome && !was_ended) co_return fail(outcome);

  const auto record = site_.log.get(kKindSession, asked.id.hex());
  if (!record) co_return fail(record);
  if (!*record) co_return fail("not_found", "There is no session " + asked.id.hex());
  const auto facts = facts_of((*record)->bytes);
  if (!facts) co_return fail(facts);
  if (was_ended) {
    const auto meta = site_.log.meta();
    if (!meta) co_return fail(meta);
    outcome = store::Outcome{(*record)->revision, meta->lineage, meta->epoch, {site_.node}, true};
  }
  co_return EndedSession{facts->signed_tombstone, facts->end_reason, *outcome, was_ended};
}

Result<std::vector<SessionId>> Sessions::forgettable() {
  if (auto fresh = site_.catalog.refresh(); !fresh) return fail(fresh);
  const auto count = site_.catalog.ended_session_count();
  if (!count) return fail(count);
  const std::chrono::seconds kept =
      *count > kEndedSessionsMax
          ? kEndedSessionKeptLeast
          : std::chrono::seconds(Settings(site_).number("session.keep_ended_s"));
  return site_.catalog.sessions_ended_before(site_.now().after(-kept), kForgottenAtOnce);
}

net::Task<Result<store::Outcome>> Sessions::forget(std::vector<SessionId> ids) {
  store::Transaction transaction;
  for (const SessionId& id : ids)
    transaction.writes.push_back(store::Write::erase(std::string(kKindSession), id.hex()));
  auto outcome = co_await site_.writer.submit(std::move(transaction));
  co_return outcome;
}

Result<std::optional<SessionFacts>> Sessions::find(const SessionId& id) {
  const auto record = site_.log.get(kKindSession, id.hex());
  if (!record) return fail(record);
  if (!*record) return std::nullopt;
  auto facts = facts_of((*record)->bytes);
  if (!facts) return fail(facts);
  return *facts;
}

}  // namespace everspan::site
