#include "cli/context.h"

#include <poll.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdlib>

#include "cli/core/exit_code.h"
#include "common/crypto.h"
#include "common/version.h"
#include "net/address.h"

namespace everspan::cli {
namespace {

namespace json = boost::json;

constexpr std::chrono::milliseconds kRetryFor{8000};

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

Answer Context::get(const std::string& path, std::string_view area, Where where) {
  return call("GET", path, {}, area, where);
}

Answer Context::call(const std::string& method, const std::string& path, json::object body,
                     std::string_view area, Where where) {
  const auto to = address();
  if (!to) return failed(to.error());
  if (profile_.ca_pem.empty()) {
    return failed(
        {"refused", "This site's CA is not known yet", {}, "Log in with --ca FILE first"});
  }
  http::SiteRequest asked;
  asked.this_node = where != Where::site || area == "appliance";
  asked.repeat = where != Where::once;
  http::ClientRequest& request = asked.request;
  request.method = method;
  request.url = path;
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
  if (!client_) client_.emplace(make_client(*to));
  return ask(std::move(asked));
}

std::vector<std::string> Context::other_nodes() const {
  const auto named = address();
  if (!globals_.site.empty() || !named) return {};  // Who names a node means that one.
  std::vector<std::string> out;
  for (const std::string& each : profile_.nodes)
    if (each != *named) out.push_back(each);
  return out;
}

http::SiteClient Context::make_client(const std::string& address) const {
  http::SiteClient::Options options;
  options.client.ca_pem = profile_.ca_pem;
  options.client.timeout = globals_.timeout;
  options.client.connect_timeout = globals_.timeout;
  options.client.user_agent = "everspan/" + std::string(program_version());
  options.nodes = {address};
  for (std::string& each : other_nodes()) options.nodes.push_back(std::move(each));
  options.retry_for = kRetryFor;
  const Terminal terminal = terminal_;
  options.notice = [terminal](const std::string& text) {
    terminal.note("everspan: " + harmless(text));
  };
  return http::SiteClient(std::move(options));
}

Answer Context::ask(http::SiteRequest request) {
  auto response = client_->ask(std::move(request));
  if (!response) return failed(response.error());
  Answer out;
  out.status = response->status;
  out.raw = std::move(response->body);
  out.node = client_->node();
  boost::system::error_code error;
  json::value value = json::parse(out.raw, error);
  const bool is_object = !error && value.is_object();
  if (is_object) out.body = std::move(value.get_object());
  const bool good = out.status >= 200 && out.status < 300;
  if (good && is_object) {
    learn_nodes(out.body);
    return out;
  }
  if (good) return failed({"bad_answer", "The site's answer cannot be read", {}, {}}, out.status);
  Answer refused = failed(error_of(out.body, out.status), out.status);
  refused.body = std::move(out.body);  // Some say more than the error: checks, a role.
  refused.raw = std::move(out.raw);
  refused.node = std::move(out.node);
  return refused;
}

// So that the next command works when one node is away.
void Context::learn_nodes(const json::object& body) {
  if (!body.contains("nodes") || profile_.site.empty()) return;
  std::vector<std::string> found;
  for (const json::object& node : list_of(body, "nodes")) {
    const auto address = net::Address::parse(text_of(node, "address"));
    if (address && address->port != 0 && found.size() < kNodesMax) found.push_back(address->text());
  }
  std::ranges::sort(found);
  if (found.size() < 2) found.clear();  // It is the one that is known.
  if (found == profile_.nodes) return;
  profile_.nodes = std::move(found);
  const auto saved = save_profile(folder_, profile_);
  if (!saved)
    terminal_.note("everspan: the nodes of the site are not kept: " + saved.error().text());
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

void Context::print_field(std::string_view name, const std::string& value) const {
  std::string label(name);
  label.resize(18, ' ');
  terminal_.print_line(label + value);
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
