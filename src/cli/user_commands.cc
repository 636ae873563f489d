// Who has an account and what he may do: users of the site, and accounts of this appliance.
#include <algorithm>
#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/core/exit_code.h"
#include "cli/files.h"
#include "common/crypto.h"
#include "http/message.h"

namespace everspan::cli {
namespace {

using boost::json::object;
using http::percent_encode;

std::string area_of(const UserArguments& arguments) {
  return arguments.appliance ? "appliance" : "site";
}
std::string base_of(const UserArguments& arguments) {
  return arguments.appliance ? "/api/v1/appliance" : "/api/v1";
}
std::string path_of(const UserArguments& arguments, const char* what = "") {
  return base_of(arguments) + "/users/" + percent_encode(arguments.name) + what;
}

// The scopes that were named, or all. Code usage: one that the area does not have.
Result<boost::json::array> scopes_of(const UserArguments& arguments) {
  const std::vector<std::string>& known = scopes_of_area(arguments.appliance);
  boost::json::array out;
  for (const std::string& scope : arguments.administrator ? known : arguments.scopes) {
    if (std::ranges::find(known, scope) == known.end()) {
      std::string list;
      for (const std::string& each : known) list += (list.empty() ? "" : " ") + each;
      return fail("usage", "There is no scope " + harmless(scope), "Nothing was changed",
                  "Scopes of the " + area_of(arguments) + ": " + list);
    }
    out.emplace_back(scope);
  }
  return out;
}

std::string joined(const object& body, std::string_view key) {
  std::string out;
  const boost::json::value* list = body.if_contains(key);
  if (list == nullptr || !list->is_array()) return out;
  for (const boost::json::value& each : list->get_array())
    if (each.is_string()) out += (out.empty() ? "" : " ") + std::string(each.get_string());
  return out;
}

std::string state_of(const object& user) {
  if (flag_of(user, "disabled")) return "disabled";
  return flag_of(user, "administrator") ? "administrator" : "enabled";
}

// Never from the arguments: others can read them. A file, or twice on the terminal.
Result<std::string> new_password(const std::string& file, const std::string& whose) {
  if (!file.empty()) return read_secret_file(file);
  auto first = Terminal::ask_password("New password for " + harmless(whose) + ": ");
  if (!first) return fail(first);
  auto second = Terminal::ask_password("Again: ");
  if (!second) return fail(second);
  const bool same = *first == *second;
  wipe(*second);
  if (same) return first;
  wipe(*first);
  return fail("not_confirmed", "The two were not the same", "Nothing was changed");
}

int written(Context& context, const Answer& answer, const std::string& done) {
  if (!answer.ok()) return context.fail(answer);
  if (!context.print_json(answer)) context.terminal().note(done);
  return kOk;
}

}  // namespace

const std::vector<std::string>& scopes_of_area(bool appliance) {
  static const std::vector<std::string> site{"sessions", "endpoints", "settings", "users",
                                             "upgrade",  "audit",     "failover"};
  static const std::vector<std::string> own{"updates", "node", "upgrade"};
  return appliance ? own : site;
}

int user_list(Context& context, const UserArguments& arguments) {
  const Answer answer = context.get(base_of(arguments) + "/users", area_of(arguments));
  if (!answer.ok()) return context.fail(answer);
  if (context.print_json(answer)) return kOk;
  std::vector<Row> rows;
  for (const object& user : list_of(answer.body, "users"))
    rows.push_back({text_of(user, "name"), state_of(user), joined(user, "scopes"),
                    text_of(user, "created_at")});
  context.print_table(
      {{"NAME", Align::left, true}, {"STATE"}, {"SCOPES", Align::left, true}, {"CREATED"}}, rows,
      "There are no users");
  return kOk;
}

int user_show(Context& context, const UserArguments& arguments) {
  const Answer answer = context.get(path_of(arguments), area_of(arguments));
  if (!answer.ok()) return context.fail(answer);
  if (context.print_json(answer)) return kOk;
  const Terminal& terminal = context.terminal();
  terminal.print_line("name      " + harmless(text_of(answer.body, "name")));
  terminal.print_line("state     " + state_of(answer.body));
  terminal.print_line("scopes    " + harmless(joined(answer.body, "scopes")));
  terminal.print_line("created   " + harmless(text_of(answer.body, "created_at")));
  return kOk;
}

int user_add(Context& context, const UserArguments& arguments) {
  auto scopes = scopes_of(arguments);
  if (!scopes) return context.fail(scopes.error());
  auto password = new_password(arguments.password_file, arguments.name);
  if (!password) return context.fail(password.error());
  object body;
  body["name"] = arguments.name;
  body["password"] = *password;
  body["scopes"] = std::move(*scopes);
  wipe(*password);
  return written(
      context,
      context.call("POST", base_of(arguments) + "/users", std::move(body), area_of(arguments)),
      "Added " + harmless(arguments.name));
}

int user_grant(Context& context, const UserArguments& arguments, bool take_away) {
  auto scopes = scopes_of(arguments);
  if (!scopes) return context.fail(scopes.error());
  if (scopes->empty())
    return context.fail({"usage", "No scope was named", "Nothing was changed",
                         "everspan user grant NAME SCOPE..., or --administrator"});
  object body;
  body[take_away ? "take" : "give"] = std::move(*scopes);
  return written(
      context,
      context.call("PUT", path_of(arguments, "/scopes"), std::move(body), area_of(arguments)),
      harmless(arguments.name) + (take_away ? " has lost the scopes" : " has the scopes"));
}

int user_password(Context& context, const UserArguments& arguments) {
  const std::string area = area_of(arguments);
  const std::string login =
      arguments.appliance ? "everspan login --area appliance" : "everspan login";
  const auto token = context.profile().tokens.find(area);
  const std::string self = token == context.profile().tokens.end() ? "" : token->second.account;
  const bool own = arguments.name.empty() || arguments.name == self;
  if (own && self.empty())
    return context.fail({"unauthenticated", "You are not logged in", {}, login});
  object body;
  if (own) {
    auto old = arguments.old_password_file.empty()
                   ? Terminal::ask_password("Old password of " + harmless(self) + ": ")
                   : read_secret_file(arguments.old_password_file);
    if (!old) return context.fail(old.error());
    body["old_password"] = *old;
    wipe(*old);
  }
  auto password = new_password(arguments.password_file, own ? self : arguments.name);
  if (!password) return context.fail(password.error());
  body["password"] = *password;
  wipe(*password);
  const std::string path = own ? base_of(arguments) + "/password" : path_of(arguments, "/password");
  const Answer answer = context.call("PUT", path, std::move(body), area);
  if (answer.ok() && own) {
    context.profile().tokens.erase(area);  // Void from now on.
    const auto saved = save_profile(context.folder(), context.profile());
    if (!saved) return context.fail(saved.error());
  }
  return written(context, answer,
                 own ? "The password is changed, your log-ins have ended: " + login
                     : "The password is changed, the user's log-ins have ended");
}

int user_switch(Context& context, const UserArguments& arguments, bool enable) {
  const char* out = arguments.appliance ? " is disabled and logged out"
                                        : " is disabled and logged out; his sessions end";
  return written(context,
                 context.call("POST", path_of(arguments, enable ? "/enable" : "/disable"), {},
                              area_of(arguments)),
                 harmless(arguments.name) + (enable ? " may log in again" : out));
}

int user_remove(Context& context, const UserArguments& arguments) {
  const auto sure = context.confirm_text(
      arguments.appliance
          ? "Removing an account ends its log-ins; what it did stays in the journal."
          : "Removing a user ends his log-ins and his sessions; what he did stays in the journal.",
      arguments.name);
  if (!sure) return context.fail(sure.error());
  return written(context, context.call("DELETE", path_of(arguments), {}, area_of(arguments)),
                 "Removed " + harmless(arguments.name));
}

}  // namespace everspan::cli
