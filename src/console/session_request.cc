#include "console/session_request.h"

#include <boost/json.hpp>

#include "http/client.h"
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

std::vector<relay_end::Candidate> candidates_of(const json::object& object) {
  std::vector<relay_end::Candidate> out;
  const json::value* list = object.if_contains("candidates");
  if (list == nullptr || !list->is_array()) return out;
  for (const auto& entry : list->as_array()) {
    if (!entry.is_object() || out.size() == relay_end::kCandidatesMax) continue;
    const json::value* port = entry.as_object().if_contains("port");
    if (port == nullptr) continue;
    boost::system::error_code error;
    const auto number = port->to_number<std::uint16_t>(error);
    if (error || number == 0) continue;
    out.push_back({text_of(entry.as_object(), "host"), number, text_of(entry.as_object(), "node")});
  }
  return out;
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

Result<GrantedSession> request_session(const Site& site, const std::string& endpoint,
                                       const std::vector<std::string>& rights,
                                       const std::string& reason, const SigningKey& console_key) {
  const net::Address at{.host = site.host, .port = static_cast<std::uint16_t>(site.port)};
  http::ClientOptions options;
  options.ca_pem = site.ca_pem;
  http::Client client(options);
  json::array wanted;
  for (const auto& right : rights) wanted.emplace_back(right);
  json::object body{{"endpoint", endpoint},
                    {"console_key", to_base64url(as_bytes(console_key.public_key()))},
                    {"rights", wanted}};
  if (!reason.empty()) body["reason"] = reason;
  http::ClientRequest request;
  request.method = "POST";
  request.url = "https://" + at.text() + "/api/v1/sessions";
  request.headers.emplace_back("Authorization", "Bearer " + site.token);
  request.headers.emplace_back("Content-Type", "application/json");
  // A retry by the library or a node that hands over runs it once.
  request.headers.emplace_back("Idempotency-Key", to_hex(as_bytes(random_bytes(16))));
  request.body = json::serialize(body);
  auto response = client.request(request);
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
  session.candidates = candidates_of(*object);
  if (session.candidates.empty()) session.candidates.push_back({at.host, at.port, ""});
  return session;
}

}  // namespace everspan::console
