#include "site/endpoints.h"

#include <algorithm>

#include "common/crypto.h"
#include "common/utf8.h"
#include "proto/records.pb.h"
#include "site/feature_level.h"
#include "site/records.h"

namespace everspan::site {
namespace {

constexpr std::size_t kExpiredErasedAtOnce = 16;

std::unexpected<Error> bad_token(const char* why) {
  return fail("bad_token", std::string("The enrolment token was refused: ") + why,
              "Nothing was changed", "Make a new one with endpoint enrol-token");
}

EndpointId id_of_key(const SiteId& site, std::string_view public_key) {
  const Sha256 digest =
      sha256("everspan endpoint 1" + std::string(1, '\0') + site.raw() + std::string(public_key));
  EndpointId id;
  std::copy_n(digest.begin(), id.bytes.size(), id.bytes.begin());
  return id;
}

RequestId request_of(const access::EnrolToken& token, const Enrolment& asked) {
  const Sha256 digest = sha256("everspan enrol 1" + std::string(1, '\0') + token.id.raw() +
                               asked.public_key + lower_case(asked.name));
  RequestId id;
  std::copy_n(digest.begin(), id.bytes.size(), id.bytes.begin());
  return id;
}

Result<EndpointRecord> record_of(const store::Record& record) {
  const auto stored = parse_record<pb::Endpoint>(kKindEndpoint, record.bytes);
  if (!stored) return fail(stored);
  const auto id = EndpointId::from_raw(stored->id());
  if (!id) return fail(id);
  return EndpointRecord{.id = *id,
                        .name = stored->name(),
                        .public_key = stored->public_key(),
                        .platform = stored->platform(),
                        .release = stored->release(),
                        .note = stored->note(),
                        .enrolled_at = {stored->enrolled_at_ms()},
                        .revision = record.revision};
}

Result<void> check_enrolment(const Enrolment& asked) {
  if (auto good = access::check_name("endpoint's name", asked.name); !good) return good;
  if (asked.public_key.size() != 32)
    return fail("bad_request", "A public key has 32 bytes (Ed25519)");
  if (asked.platform.size() > 64 || asked.release.size() > 64)
    return fail("bad_request", "Platform and release have at most 64 bytes");
  return {};
}

// The token's record with one use taken, if it may enrol this endpoint now.
Result<pb::EnrolToken> take_use(const store::Record& record, const access::EnrolToken& token,
                                const Enrolment& asked, WallTime now) {
  auto stored = parse_record<pb::EnrolToken>(kKindEnrolToken, record.bytes);
  if (!stored) return stored;
  if (now.unix_ms >= stored->expires_at_ms()) return bad_token("it has expired");
  if (stored->uses_left() == 0) return bad_token("it was used already");
  if (!stored->name().empty() && lower_case(stored->name()) != lower_case(asked.name))
    return bad_token("it is for an endpoint of another name");
  stored->set_uses_left(stored->uses_left() - 1);
  return stored;
}

}  // namespace

Result<std::optional<EndpointRecord>> Endpoints::get(const EndpointId& id) {
  const auto record = site_.log.get(kKindEndpoint, id.hex());
  if (!record) return fail(record);
  if (!*record) return std::nullopt;
  auto endpoint = record_of(**record);
  if (!endpoint) return fail(endpoint);
  return *endpoint;
}

Result<std::optional<EndpointRecord>> Endpoints::find(std::string_view name) {
  if (!access::check_name("endpoint's name", name)) return std::nullopt;
  const auto record = site_.log.get(kKindEndpointName, lower_case(name));
  if (!record) return fail(record);
  if (!*record) return std::nullopt;
  const auto stored = parse_record<pb::EndpointName>(kKindEndpointName, (*record)->bytes);
  if (!stored) return fail(stored);
  const auto id = EndpointId::from_raw(stored->id());
  if (!id) return fail(id);
  return get(*id);
}

net::Task<Result<MadeEnrolToken>> Endpoints::make_token(NewEnrolToken wanted,
                                                        WriteOptions options) {
  if (wanted.uses < 1 || wanted.uses > kEnrolUsesMax)
    co_return fail("bad_request", "uses is from 1 to 100000");
  if (wanted.expires_in_s < 60 || wanted.expires_in_s > kEnrolSecondsMax)
    co_return fail("bad_request", "expires_in_s is from 60 to 7776000 (90 days)");
  if (!wanted.name.empty()) {
    if (auto good = access::check_name("endpoint's name", wanted.name); !good) co_return fail(good);
  }
  const WallTime now = site_.now();
  const std::string& request_key = site_.secrets.request_key;
  access::EnrolToken token;
  token.secret = derive_secret(request_key, "enrol secret", options.request_id);
  const std::string id = derive_secret(request_key, "enrol id", options.request_id);
  std::copy_n(id.begin(), token.id.bytes.size(), token.id.bytes.begin());
  token.ca_sha256 = site_.identity.ca_sha256;

  pb::EnrolToken stored;
  stored.set_secret_hash(access::enrol_secret_hash(token.secret));
  stored.set_uses_left(wanted.uses);
  stored.set_expires_at_ms(now.after(std::chrono::seconds(wanted.expires_in_s)).unix_ms);
  stored.set_name(wanted.name);
  stored.set_created_by(wanted.created_by);
  stored.set_created_at_ms(now.unix_ms);
  store::Transaction transaction;
  transaction.request_id = options.request_id;
  transaction.writes.push_back(store::Write::put(std::string(kKindEnrolToken), token.id.hex(),
                                                 stored.SerializeAsString(), Revision{0}));
  if (auto fresh = site_.catalog.refresh(); !fresh) co_return fail(fresh);
  const auto expired = site_.catalog.expired_enrol_tokens(now, kExpiredErasedAtOnce);
  if (!expired) co_return fail(expired);
  for (const std::string& each : *expired)
    transaction.writes.push_back(store::Write::erase(std::string(kKindEnrolToken), each));

  const auto outcome = co_await site_.writer.submit(std::move(transaction));
  if (!outcome) co_return fail(outcome);
  const auto record = site_.log.get(kKindEnrolToken, token.id.hex());  // The first call's times.
  if (!record) co_return fail(record);
  if (!*record) co_return bad_token("it has expired");
  const auto made = parse_record<pb::EnrolToken>(kKindEnrolToken, (*record)->bytes);
  if (!made) co_return fail(made);
  co_return MadeEnrolToken{
      access::format_enrol_token(token), token.id, {made->expires_at_ms()}, *outcome};
}

net::Task<Result<Enrolled>> Endpoints::enrol(Enrolment asked) {
  if (auto good = check_enrolment(asked); !good) co_return fail(good);
  const auto token = access::parse_enrol_token(asked.token);
  if (!token) co_return fail(token);
  if (token->ca_sha256 != site_.identity.ca_sha256) co_return bad_token("it is of another site");
  const EndpointId id = id_of_key(site_.identity.id, asked.public_key);
  const RequestId request = request_of(*token, asked);

  for (int tries = 0; tries < store::kUpdateTries; ++tries) {
    const auto record = site_.log.get(kKindEnrolToken, token->id.hex());
    if (!record) co_return fail(record);
    if (!*record) co_return bad_token("it is not known");
    const auto known = parse_record<pb::EnrolToken>(kKindEnrolToken, (*record)->bytes);
    if (!known) co_return fail(known);
    // The secret first, so that nothing is told to one who does not have it.
    if (!equal_constant_time(known->secret_hash(), access::enrol_secret_hash(token->secret)))
      co_return bad_token("it is not known");
    const auto existing = get(id);
    if (!existing) co_return fail(existing);
    const auto before = site_.log.outcome(request);
    if (!before) co_return fail(before);
    if (*before && *existing) co_return Enrolled{**existing, **before};

    const auto taken = take_use(**record, *token, asked, site_.now());
    if (!taken) co_return fail(taken);
    if (*existing)
      co_return fail("conflict", "This key is enrolled already, as " + (*existing)->name,
                     "Nothing was changed", "Remove that endpoint first");
    const auto named = find(asked.name);
    if (!named) co_return fail(named);
    if (*named)
      co_return fail("conflict", "There is an endpoint " + asked.name + " already",
                     "Nothing was changed", "Choose another name, or remove that endpoint first");

    pb::Endpoint endpoint;
    endpoint.set_id(id.raw());
    endpoint.set_name(asked.name);
    endpoint.set_public_key(asked.public_key);
    endpoint.set_platform(asked.platform);
    endpoint.set_release(asked.release);
    endpoint.set_enrolled_at_ms(site_.now().unix_ms);
    endpoint.set_enrol_token_id(token->id.raw());
    endpoint.set_address(asked.address);
    pb::EndpointName name;
    name.set_id(id.raw());
    store::Transaction transaction;
    transaction.request_id = request;
    transaction.writes.push_back(store::Write::put(std::string(kKindEnrolToken), token->id.hex(),
                                                   taken->SerializeAsString(),
                                                   (*record)->revision));
    transaction.writes.push_back(store::Write::put(std::string(kKindEndpoint), id.hex(),
                                                   endpoint.SerializeAsString(), Revision{0}));
    transaction.writes.push_back(store::Write::put(std::string(kKindEndpointName),
                                                   lower_case(asked.name), name.SerializeAsString(),
                                                   Revision{0}));
    const auto outcome = co_await site_.writer.submit(std::move(transaction));
    if (outcome) {
      const auto made = get(id);
      if (!made) co_return fail(made);
      if (*made) co_return Enrolled{**made, *outcome};
      co_return fail("conflict", "The endpoint was removed while it enrolled");
    }
    if (outcome.error().code != "conflict") co_return fail(outcome);
  }
  co_return fail("conflict", "Others kept using this enrolment token", "Nothing was changed",
                 "Try again");
}

Result<void> check_note(std::string_view note) {
  std::size_t count = 0;
  for (std::string_view rest = note; !rest.empty(); ++count) {
    const auto character = take_character(rest);
    if (!character || !is_plain(*character))
      return fail("bad_value", "A note is one line of printable text", "Nothing was changed");
  }
  if (count > kNoteCharactersMax)
    return fail("bad_value",
                "A note has at most " + std::to_string(kNoteCharactersMax) + " characters",
                "Nothing was changed");
  return {};
}

net::Task<Result<store::Outcome>> Endpoints::set_note(std::string name, std::string note,
                                                      WriteOptions options) {
  if (auto good = check_note(note); !good) co_return fail(good);
  if (auto may = check_feature(site_.log, features::Feature::endpoint_notes, "Notes of endpoints");
      !may)
    co_return fail(may);
  const auto endpoint = find(name);
  if (!endpoint) co_return fail(endpoint);
  if (!*endpoint) co_return fail("not_found", "There is no endpoint " + printable(name, 80));
  const std::string key = (*endpoint)->id.hex();
  auto edit =
      store::edit_message<pb::Endpoint>([note](pb::Endpoint& record) { record.set_note(note); });
  auto outcome = co_await update_record(site_.log, site_.writer, std::string(kKindEndpoint), key,
                                        std::move(edit), true, options);
  if (!outcome || !outcome->repeated) co_return outcome;
  // The key of the request was used before: for this very note, or for another one?
  const auto first = site_.log.entries(Revision{outcome->revision.value - 1}, 1);
  if (!first || first->entries.empty()) co_return outcome;  // Compacted: nothing to compare with.
  for (const store::Operation& operation : first->entries.front().operations) {
    if (operation.kind != kKindEndpoint || operation.key != key) continue;
    const auto written = parse_record<pb::Endpoint>(kKindEndpoint, operation.bytes);
    if (written && written->note() == note) co_return outcome;
  }
  co_return fail("conflict", "This Idempotency-Key was used for another request",
                 "Nothing was changed", "Use a new key for a new request");
}

net::Task<Result<store::Outcome>> Endpoints::remove(std::string name, WriteOptions options) {
  for (int tries = 0; tries < store::kUpdateTries; ++tries) {
    const auto before = site_.log.outcome(options.request_id);
    if (!before) co_return fail(before);
    if (*before) {
      store::Outcome outcome = **before;
      outcome.repeated = true;
      co_return outcome;
    }
    const auto endpoint = find(name);
    if (!endpoint) co_return fail(endpoint);
    if (!*endpoint) co_return fail("not_found", "There is no endpoint " + printable(name, 80));
    if (options.if_match && *options.if_match != (*endpoint)->revision)
      co_return fail("conflict", "The endpoint was changed since you read it",
                     "Nothing was changed", "Read it again and decide anew");
    store::Transaction transaction;
    transaction.request_id = options.request_id;
    transaction.writes.push_back(store::Write::erase(std::string(kKindEndpoint),
                                                     (*endpoint)->id.hex(), (*endpoint)->revision));
    transaction.writes.push_back(
        store::Write::erase(std::string(kKindEndpointName), lower_case(name)));
    auto outcome = co_await site_.writer.submit(std::move(transaction));
    if (outcome || outcome.error().code != "conflict") co_return outcome;
  }
  co_return fail("conflict", "Others kept changing the endpoint", "Nothing was changed",
                 "Try again");
}

}  // namespace everspan::site
