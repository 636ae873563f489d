#include "http/site_client.h"

#include <poll.h>

#include <algorithm>
#include <boost/json.hpp>

#include "common/bytes.h"
#include "net/address.h"
#include "net/async.h"

namespace everspan::http {
namespace {

namespace json = boost::json;

constexpr std::chrono::milliseconds kRetryEvery{200};
// With another node to ask: a machine that is off does not refuse, it is silent.
constexpr std::chrono::milliseconds kConnectMax{3000};
constexpr std::size_t kErrorBytesMax = 64 * 1024;

// code and address of {"error": {...}}.
struct Refusal {
  std::string code;
  std::string address;
};

std::string text_at(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

std::optional<Refusal> refusal_in(const ClientResponse& response) {
  if (response.status < 400 || response.body.size() > kErrorBytesMax) return std::nullopt;
  boost::system::error_code error;
  const json::value whole = json::parse(response.body, error);
  const json::object* object = error ? nullptr : whole.if_object();
  const json::value* inner = object == nullptr ? nullptr : object->if_contains("error");
  if (inner == nullptr || !inner->is_object()) return std::nullopt;
  Refusal out{text_at(inner->get_object(), "code"), text_at(inner->get_object(), "address")};
  const auto address = net::Address::parse(out.address);
  out.address = address && address->port != 0 ? address->text() : "";
  return out;
}

// A process that went away under the request. A refused connection is no such thing.
bool broke(const Error& error) {
  return error.code == "cut" || error.code == "tls_handshake";
}

// The node does not answer; another one may.
bool is_away(const Error& error) {
  return broke(error) || error.code == "unreachable" || error.code == "timeout";
}

// "unreachable" in an answer: the node cannot reach somebody else, and says so.
bool worth_repeating(const Result<ClientResponse>& answer, const std::optional<Refusal>& refusal,
                     bool this_node) {
  if (!answer) return broke(answer.error());
  // Without an address it is a process that is leaving: the next connection reaches the other.
  if (refusal && refusal->code == "not_primary") return !this_node || refusal->address.empty();
  return answer->status == 503 && !(refusal && refusal->code == "unreachable");
}

void pause(std::chrono::milliseconds length) {
  ::poll(nullptr, 0, static_cast<int>(length.count()));  // A signal ends it early: that is fine.
}

Error primary_is_away(const std::string& asked, const std::string& primary, const Error& why) {
  return {"unreachable",
          asked + " is not the primary, and the primary " + primary +
              " cannot be reached: " + why.message,
          "Nothing was done",
          "everspan --site " + asked +
              " failover status; if the primary is gone for good: everspan "
              "--site " +
              asked + " failover become-primary --even-if-unreachable"};
}

}  // namespace

std::optional<std::string> primary_in(const ClientResponse& response) {
  const auto refusal = refusal_in(response);
  if (!refusal || refusal->code != "not_primary") return std::nullopt;
  return refusal->address;
}

SiteClient::SiteClient(Options options) : options_(std::move(options)) {
  current_ = options_.nodes.front();
  if (options_.nodes.size() > 1)
    options_.client.connect_timeout = std::min(options_.client.connect_timeout, kConnectMax);
}

void SiteClient::notice(const std::string& text) const {
  if (options_.notice) options_.notice(text);
}

Result<ClientResponse> SiteClient::ask(SiteRequest request) {
  const std::string named = options_.nodes.front();
  if (request.this_node) return ask_from(named, request);
  std::vector<std::string> order{current_};
  for (const std::string& each : options_.nodes)
    if (std::ranges::find(order, each) == order.end()) order.push_back(each);
  std::optional<Error> first;
  for (const std::string& node : order) {
    auto answer = ask_from(node, request);
    if (answer) return answer;
    const bool untrusted = answer.error().code == "tls_certificate";
    if ((untrusted && node == named) || !(untrusted || is_away(answer.error()))) return answer;
    if (!first) first = answer.error();
    if (node != order.back()) notice(node + " does not answer: another node of the site is asked");
  }
  return std::unexpected(*first);
}

Result<ClientResponse> SiteClient::ask_from(const std::string& first, SiteRequest& request) {
  const Instant give_up = net::now() + std::min(options_.retry_for, options_.client.timeout);
  std::string node = first;
  for (;;) {
    auto answer = once(node, request.request);
    const auto refusal = answer ? refusal_in(*answer) : std::nullopt;
    const bool follows = refusal && refusal->code == "not_primary" && !request.this_node &&
                         node == first && !refusal->address.empty() && refusal->address != node;
    if (follows) {
      notice(node + " is not the primary: " + refusal->address + " is asked");
      node = refusal->address;
      continue;
    }
    if (request.repeat && worth_repeating(answer, refusal, request.this_node) &&
        net::now() < give_up) {
      pause(kRetryEvery);
      continue;
    }
    if (answer) current_ = node;
    if (!answer && node != first)
      return std::unexpected(primary_is_away(first, node, answer.error()));
    return answer;
  }
}

Result<ClientResponse> SiteClient::once(const std::string& node, ClientRequest request) {
  const auto [client, made] = clients_.try_emplace(node, options_.client);
  request.url = "https://" + node + request.url;
  auto answer = client->second.request(request);
  // Its connection is broken, or leads to a process that is leaving.
  if (!answer) clients_.erase(node);
  return answer;
}

}  // namespace everspan::http
