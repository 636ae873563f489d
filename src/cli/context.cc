#include "cli/context.h"

#include <poll.h>

#include <boost/json.hpp>
#include <cstdlib>

#include "cli/core/exit_code.h"
#include "common/crypto.h"
#include "common/version.h"
#include "net/async.h"

namespace everspan::cli {
namespace {

namespace json = boost::json;

constexpr Duration kRetryFor = std::chrono::seconds(8);
constexpr Duration kRetryEvery = std::chrono::milliseconds(200);

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string{} : std::string(value);
}

Answer failed(Error error, int status = 0) {
  Answer out;
  out.exit = exit_code_for(status, error.code);
  out.status = status;
  out.error = std::move(error);
  return out;
}

Error error_of(const json::object& body, int status) {
  const json::object& error = object_of(body, "error");
  Error out{text_of(error, "code"), harmless(text_of(error, "message")),
            harmless(text_of(error, "kept")), harmless(text_of(error, "next"))};
  if (out.code.empty()) out.code = "http_" + std::to_string(status);
  if (out.message.empty()) out.message = "The site answered with status " + std::to_string(status);
  return out;
}

// A hand-over (the process that was asked may not say yes any more, the next connection reaches the
// one that may), or a process that went away under the request. A refused connection is no such
// thing.
bool worth_repeating(const Answer& answer) {
  if (answer.status == 503 || answer.error.code == "not_primary") return true;
  return answer.status == 0 && (answer.error.code == "cut" || answer.error.code == "tls_handshake");
}

std::string plain(std::string_view question) {
  return harmless(question);
}

}  // namespace

void pause_between_tries(Duration length) {
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(length);
  ::poll(nullptr, 0, static_cast<int>(ms.count()));  // A signal ends it early, and that is fine.
}

Context::Context(Globals globals) : globals_(std::move(globals)), terminal_(globals_.no_color) {}

Result<Context> Context::make(Globals globals) {
  if (globals.profile.empty()) globals.profile = environment("EVERSPAN_PROFILE");
  if (globals.profile.empty()) globals.profile = "default";
  if (globals.site.empty()) globals.site = environment("EVERSPAN_SITE");
  Context out(std::move(globals));
  auto folder = profile_folder();
  if (!folder) return everspan::fail(folder);
  out.folder_ = std::move(*folder);
  auto profile = load_profile(out.folder_, out.globals_.profile);
  if (!profile) return everspan::fail(profile);
  out.profile_ = std::move(*profile);
  return out;
}

Result<std::string> Context::address() const {
  const std::string& from = globals_.site.empty() ? profile_.site : globals_.site;
  if (from.empty()) {
    return everspan::fail("usage", "It is not known which site is meant", "",
                          "Log in first (everspan login), or give --site HOST:PORT");
  }
  return site_address(from);
}

Answer Context::get(const std::string& path, std::string_view area) {
  return call("GET", path, {}, area);
}

Answer Context::call(const std::string& method, const std::string& path, json::object body,
                     std::string_view area) {
  const auto to = address();
  if (!to) return failed(to.error());
  if (profile_.ca_pem.empty()) {
    return failed(
        {"refused", "This site's CA is not known yet", {}, "Log in with --ca FILE first"});
  }
  http::ClientRequest request;
  request.method = method;
  request.url = "https://" + *to + path;
  if (!area.empty()) {
    const auto token = profile_.tokens.find(std::string(area));
    if (token == profile_.tokens.end()) {
      const std::string option = area == "site" ? "" : " --area " + std::string(area);
      return failed({"unauthenticated", "You are not logged in", {}, "everspan login" + option});
    }
    request.headers.emplace_back("Authorization", "Bearer " + token->second.token);
  }
  if (method != "GET") {
    request.body = json::serialize(body);
    request.headers.emplace_back("Content-Type", "application/json");
    request.headers.emplace_back("Idempotency-Key", to_hex(as_bytes(random_bytes(16))));
  }
  const Instant give_up = net::now() + std::min<Duration>(kRetryFor, globals_.timeout);
  for (;;) {
    Answer answer = once(request);
    if (!worth_repeating(answer) || net::now() >= give_up) return answer;
    pause_between_tries(kRetryEvery);
  }
}

Answer Context::once(const http::ClientRequest& request) {
  if (!client_) {
    http::ClientOptions options;
    options.ca_pem = profile_.ca_pem;
    options.timeout = globals_.timeout;
    options.connect_timeout = globals_.timeout;
    options.user_agent = "everspan/" + std::string(program_version());
    client_.emplace(std::move(options));
  }
  auto response = client_->request(request);
  if (!response) {
    client_.reset();  // Its connection is broken, or leads to a process that is leaving.
    return failed(response.error());
  }
  Answer out;
  out.status = response->status;
  out.raw = std::move(response->body);
  boost::system::error_code error;
  json::value value = json::parse(out.raw, error);
  const bool is_object = !error && value.is_object();
  if (is_object) out.body = std::move(value.get_object());
  if (out.status >= 200 && out.status < 300 && is_object) return out;
  if (out.status >= 200 && out.status < 300) {
    return failed({"bad_answer", "The site's answer cannot be read", {}, {}}, out.status);
  }
  return failed(error_of(out.body, out.status), out.status);
}

int Context::fail(const Error& error, int status) const {
  if (globals_.json) {
    json::object inner;
    inner["code"] = error.code;
    inner["message"] = error.message;
    inner["kept"] = error.kept;
    inner["next"] = error.next;
    terminal_.note(json::serialize(json::object{{"error", std::move(inner)}}));
  } else {
    terminal_.note("everspan: " + error.text());
  }
  return exit_code_for(status, error.code);
}

bool Context::print_json(const Answer& answer) const {
  if (globals_.json) terminal_.print_line(answer.raw);
  return globals_.json;
}

void Context::print_table(const std::vector<Column>& columns, const std::vector<Row>& rows,
                          std::string_view when_empty) const {
  if (rows.empty()) {
    terminal_.note(when_empty);
    return;
  }
  terminal_.print(table(columns, rows, terminal_.width()));
}

Result<void> Context::confirm(const std::string& question) const {
  if (globals_.yes) return {};
  const auto answer = Terminal::ask(plain(question) + " [y/N] ");
  if (!answer) {
    return everspan::fail("usage", "This needs a yes", "Nothing was changed", "Add --yes");
  }
  if (*answer == "y" || *answer == "Y" || *answer == "yes") return {};
  return everspan::fail("not_confirmed", "Not confirmed", "Nothing was changed");
}

Result<void> Context::confirm_text(const std::string& what, const std::string& text) const {
  std::string given = globals_.confirm;
  if (given.empty()) {
    const auto answer = Terminal::ask(plain(what) + "\nType " + plain(text) + " to go on: ");
    if (!answer) {
      return everspan::fail("usage", what, "Nothing was changed", "Add --confirm " + plain(text));
    }
    given = *answer;
  }
  if (given == text) return {};
  return everspan::fail("not_confirmed", "Not confirmed", "Nothing was changed");
}

std::string text_of(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || value->is_null()) return {};
  if (value->is_string()) return std::string(value->get_string());
  return json::serialize(*value);
}

std::uint64_t number_of(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return 0;
  if (value->is_uint64()) return value->get_uint64();
  return value->is_int64() && value->get_int64() > 0
             ? static_cast<std::uint64_t>(value->get_int64())
             : 0;
}

bool flag_of(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_bool() && value->get_bool();
}

const json::object& object_of(const json::object& object, std::string_view key) {
  static const json::object empty;
  const json::value* value = object.if_contains(key);
  return value != nullptr && value->is_object() ? value->get_object() : empty;
}

std::vector<json::object> list_of(const json::object& object, std::string_view key) {
  std::vector<json::object> out;
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_array()) return out;
  for (const json::value& item : value->get_array()) {
    if (item.is_object()) out.push_back(item.get_object());
  }
  return out;
}

}  // namespace everspan::cli
