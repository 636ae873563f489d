#include "console/session_request.h"

#include <boost/json.hpp>

#include "console/core/via.h"
#include "http/site_client.h"
#include "net/address.h"
#include "proto/link.pb.h"

namespace everspan::console {
namespace {

namespace json = boost::json;
constexpr std::uint32_t kTtlMaxS = 24 * 60 * 60;

std::string text_of(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}

struct Offer {
  std::vector<relay_end::Candidate> candidates;
  std::vector<OfferedNode> nodes;  // Of the same places.
};

Offer offer_of(const json::object& object) {
  Offer out;
  const json::value* list = object.if_contains("candidates");
  if (list == nullptr || !list->is_array()) return out;
  for (const auto& entry : list->as_array()) {
    if (!entry.is_object() || out.candidates.size() == relay_end::kCandidatesMax) continue;
    const json::object& fields = entry.as_object();
    const json::value* port = fields.if_contains("port");
    if (port == nullptr) continue;
    boost::system::error_code error;
    const auto number = port->to_number<std::uint16_t>(error);
    if (error || number == 0) continue;
    out.candidates.push_back({text_of(fields, "host"), number, text_of(fields, "node")});
    out.nodes.push_back(
        {text_of(fields, "host"), number, text_of(fields, "node_id"), text_of(fields, "role")});
  }
  return out;
}

// The wanted one alone: another would be dialled unseen. After the first leg the site's orders say
// where to go.
Result<std::vector<relay_end::Candidate>> candidates_of(Offer offer, const std::string& via) {
  if (via.empty()) return std::move(offer.candidates);
  const auto chosen = choose_node(via, offer.nodes);
  if (!chosen) return fail(chosen);
  // Both ends of a session are on one node, the one that the agent's link is at: the first.
  if (*chosen != 0)
    return fail("not_bridged", "This release does not join two ends that are on different nodes",
                "The session that was opened ends by itself",
                "Leave --via out, or name the primary");
  return std::vector<relay_end::Candidate>{offer.candidates[*chosen]};
}

std::unexpected<Error> error_of(int status, const json::object* answer) {
  if (answer != nullptr && answer->contains("error") && answer->at("error").is_object()) {
    const auto& error = answer->at("error").as_object();
    return fail(printable(text_of(error, "code"), 40), printable(text_of(error, "message"), 500),
                printable(text_of(error, "kept"), 500), printable(text_of(error, "next"), 500));
  }
  return fail("bad_answer", "The site answered with status " + std::to_string(status));
}

}  // namespace

Result<void> read_grant(GrantedSession& session) {
  pb::SignedGrant outer;
  pb::Grant grant;
  if (!outer.ParseFromString(session.signed_grant) || !grant.ParseFromString(outer.grant()) ||
      grant.session_id().size() != 16)
    return fail("bad_answer", "The site's grant is malformed");
  session.session_id = grant.session_id();
  session.strict = grant.recording() != "metadata";
  if (grant.ttl_s() > 0) session.ttl = std::chrono::seconds(std::min(grant.ttl_s(), kTtlMaxS));
  return {};
}

Result<GrantedSession> request_session(const Site& site, const SessionWish& wish,
                                       const SigningKey& console_key) {
  const net::Address at{.host = site.host, .port = static_cast<std::uint16_t>(site.port)};
  http::SiteClient::Options options;
  options.client.ca_pem = site.ca_pem;
  options.nodes = {at.text()};
  options.nodes.insert(options.nodes.end(), site.other_nodes.begin(), site.other_nodes.end());
  options.notice = wish.notice;
  http::SiteClient client(std::move(options));
  json::array wanted;
  for (const auto& right : wish.rights) wanted.emplace_back(right);
  json::object body{{"endpoint", wish.endpoint},
                    {"console_key", to_base64url(as_bytes(console_key.public_key()))},
                    {"rights", wanted}};
  if (!wish.reason.empty()) body["reason"] = wish.reason;
  http::SiteRequest asked;
  asked.request.method = "POST";
  asked.request.url = "/api/v1/sessions";
  asked.request.headers.emplace_back("Authorization", "Bearer " + site.token);
  asked.request.headers.emplace_back("Content-Type", "application/json");
  // A retry by the library, a node that hands over or another node runs it once.
  asked.request.headers.emplace_back("Idempotency-Key", to_hex(as_bytes(random_bytes(16))));
  asked.request.body = json::serialize(body);
  auto response = client.ask(std::move(asked));
  if (!response) return fail(response);
  boost::system::error_code error;
  const json::value answer = json::parse(response->body, error);
  const json::object* object = !error && answer.is_object() ? &answer.as_object() : nullptr;
  if (response->status != 200 || object == nullptr) return error_of(response->status, object);
  GrantedSession session;
  auto grant = from_base64url(text_of(*object, "grant"));
  if (!grant) return fail("bad_answer", "The site's grant is malformed");
  session.signed_grant = std::move(*grant);
  if (const auto read = read_grant(session); !read) return fail(read);
  auto candidates = candidates_of(offer_of(*object), wish.via);
  if (!candidates) return fail(candidates);
  session.candidates = std::move(*candidates);
  if (!session.candidates.empty()) return session;
  const auto answered = net::Address::parse(client.node());
  if (!answered) return fail(answered);
  session.candidates.push_back({answered->host, answered->port, ""});
  return session;
}

}  // namespace everspan::console
