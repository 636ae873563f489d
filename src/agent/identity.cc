#include "agent/identity.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "agent/files.h"
#include "common/version.h"
#include "http/client.h"
#include "net/address.h"

namespace everspan::agent {
namespace {

namespace json = boost::json;
constexpr std::size_t kConfigBytesMax = 256 * 1024;

std::string text_of(const json::object& object, const char* key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}

Result<std::string> id_of(const json::object& object, const char* key) {
  auto id = from_hex(text_of(object, key));
  if (!id || id->size() != 16)
    return fail("bad_answer", std::string("The site's answer has no proper ") + key);
  return id;
}

Result<json::object> parse_object(const std::string& text) {
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  if (error || !value.is_object()) return fail("bad_json", "An object in JSON was expected");
  return std::move(value.as_object());
}

std::vector<relay_end::Candidate> candidates_of(const json::object& object) {
  std::vector<relay_end::Candidate> out;
  const json::value* list = object.if_contains("candidates");
  if (list == nullptr || !list->is_array()) return out;
  for (const auto& entry : list->as_array()) {
    if (!entry.is_object() || out.size() == relay_end::kCandidatesMax) continue;
    const json::value* port = entry.as_object().if_contains("port");
    boost::system::error_code error;
    if (port == nullptr) continue;
    const auto number = port->to_number<std::uint16_t>(error);
    if (error || number == 0) continue;
    out.push_back({text_of(entry.as_object(), "host"), number, text_of(entry.as_object(), "node")});
  }
  return out;
}

// The site's API may write keys as hex or base64url.
Result<std::string> key_of(const std::string& text) {
  if (text.size() == 64) {
    if (auto hex = from_hex(text); hex) return hex;
  }
  auto key = from_base64url(text);
  if (!key || key->size() != 32) return fail("bad_answer", "The site's grant key is malformed");
  return key;
}

Result<Identity> identity_of(const json::object& object) {
  Identity identity;
  auto site_id = id_of(object, "site_id");
  auto endpoint_id = id_of(object, "endpoint_id");
  auto grant_key = key_of(text_of(object, "grant_key"));
  if (!site_id) return fail(site_id);
  if (!endpoint_id) return fail(endpoint_id);
  if (!grant_key) return fail(grant_key);
  identity.name = text_of(object, "name");
  identity.site = {.site_id = *site_id, .grant_key = *grant_key, .endpoint_id = *endpoint_id};
  if (const json::value* epoch = object.if_contains("epoch_seen")) {
    boost::system::error_code error;
    const auto number = epoch->to_number<std::uint64_t>(error);
    if (!error) identity.site.epoch_seen = number;
  }
  identity.ca_pem = text_of(object, "ca_pem");
  identity.candidates = candidates_of(object);
  identity.user = text_of(object, "user");
  return identity;
}

std::string platform() {
  utsname system{};
  if (uname(&system) != 0) return "linux";
  return std::string("linux-") + system.machine;
}

Result<SigningKey> make_key(const std::string& data) {
  SigningKey key = SigningKey::generate();
  std::string seed = key.seed();
  std::string hex = to_hex(as_bytes(seed)) + "\n";
  const auto stored = write_small_file(data + "/key", hex);
  wipe(seed);
  wipe(hex);
  if (!stored) return fail(stored);
  return key;
}

struct Token {
  std::string text;
  std::string ca_sha256;
};
Result<Token> read_token(const std::string& file) {
  auto text = read_small_file(file, 4096);
  if (!text) return fail(text);
  while (!text->empty() && (text->back() == '\n' || text->back() == '\r' || text->back() == ' '))
    text->pop_back();
  const std::size_t last = text->rfind('.');
  if (!text->starts_with("es1.") || last == std::string::npos || text->size() - last != 65)
    return fail("bad_token", "This is no enrolment token", "",
                "Make one with: everspan endpoint enrol-token");
  return Token{*text, text->substr(last + 1)};
}

Result<json::object> post_enrol(const std::string& site, const std::string& root_pem,
                                const json::object& body) {
  http::ClientOptions options;
  options.ca_pem = root_pem;
  http::Client client(options);
  http::ClientRequest request;
  request.method = "POST";
  request.url = site + "/api/v1/enrol";
  request.headers.emplace_back("Content-Type", "application/json");
  request.body = json::serialize(body);
  auto response = client.request(request);
  if (!response) return fail(response);
  auto answer = parse_object(response->body);
  if (response->status == 200 && answer) return answer;
  if (answer && answer->contains("error") && answer->at("error").is_object()) {
    const auto& error = answer->at("error").as_object();
    return fail(text_of(error, "code"), printable(text_of(error, "message"), 500),
                printable(text_of(error, "kept"), 500), printable(text_of(error, "next"), 500));
  }
  return fail("bad_answer", "The site answered with status " + std::to_string(response->status));
}

}  // namespace

Result<void> store_identity(const std::string& data, const Identity& identity) {
  json::array candidates;
  for (const auto& c : identity.candidates)
    candidates.push_back(json::object{{"host", c.host}, {"port", c.port}, {"node", c.node}});
  const json::object object{{"format", "everspan.agent/1"},
                            {"name", identity.name},
                            {"site_id", to_hex(as_bytes(identity.site.site_id))},
                            {"endpoint_id", to_hex(as_bytes(identity.site.endpoint_id))},
                            {"grant_key", to_hex(as_bytes(identity.site.grant_key))},
                            {"epoch_seen", identity.site.epoch_seen},
                            {"ca_pem", identity.ca_pem},
                            {"candidates", candidates},
                            {"user", identity.user}};
  return write_small_file(data + "/agent.json", json::serialize(object) + "\n");
}

Result<Identity> load_identity(const std::string& data) {
  auto text = read_small_file(data + "/agent.json", kConfigBytesMax);
  if (!text) return fail("not_enrolled", text.error().message, "", "Enrol this endpoint first");
  auto object = parse_object(*text);
  if (!object) return fail(object);
  return identity_of(*object);
}

Result<SigningKey> load_key(const std::string& data) {
  auto text = read_small_file(data + "/key", 256);
  if (!text) return fail(text);
  while (!text->empty() && text->back() == '\n') text->pop_back();
  auto seed = from_hex(*text);
  wipe(*text);
  if (!seed) return fail("bad_key", data + "/key is malformed");
  auto key = SigningKey::from_seed(*seed);
  wipe(*seed);
  return key;
}

Result<Identity> enrol(const EnrolOptions& options) {
  constexpr std::string_view kScheme = "https://";
  if (!options.site.starts_with(kScheme))
    return fail("usage", "The site is written https://HOST:PORT");
  std::string base = options.site;
  while (base.ends_with('/')) base.pop_back();
  const std::string authority = base.substr(kScheme.size());
  const auto address = net::Address::parse(authority);
  if (!address) return fail(address);
  const auto token = read_token(options.token_file);
  if (!token) return fail(token);
  if (auto folder = make_private_folder(options.data); !folder) return fail(folder);
  if (access((options.data + "/agent.json").c_str(), F_OK) == 0)
    return fail("enrolled", "This folder holds an enrolled endpoint", "Nothing was changed",
                "Remove it first, or use another folder");
  auto root = http::fetch_pinned_root(authority, token->ca_sha256, std::chrono::seconds(10));
  if (!root) return fail(root);
  auto key = make_key(options.data);
  if (!key) return fail(key);
  const json::object body{{"token", token->text},
                          {"name", options.name},
                          {"public_key", to_base64url(as_bytes(key->public_key()))},
                          {"platform", platform()},
                          {"release", std::string(program_version())}};
  auto answer = post_enrol(base, *root, body);
  if (!answer) return fail(answer);
  auto identity = identity_of(*answer);
  if (!identity) return fail(identity);
  identity->name = options.name;
  identity->user = options.user;
  if (identity->ca_pem.empty()) identity->ca_pem = *root;
  if (identity->candidates.empty())
    identity->candidates.push_back({address->host, address->port, ""});
  if (auto stored = store_identity(options.data, *identity); !stored) return fail(stored);
  return identity;
}

}  // namespace everspan::agent
