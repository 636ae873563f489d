#include <boost/json.hpp>
#include <cstdlib>

#include "cli/commands.h"
#include "cli/core/exit_code.h"
#include "cli/files.h"
#include "common/crypto.h"
#include "net/address.h"

namespace everspan::cli {
namespace {

constexpr std::size_t kCaBytesMax = 256 * 1024;

Result<std::string> find_ca(const Context& context, const LoginArguments& arguments,
                            const std::string& address, const std::string& known) {
  if (!arguments.ca_file.empty()) return read_file(arguments.ca_file, kCaBytesMax);
  if (!arguments.ca_sha256.empty()) {
    return http::fetch_pinned_root(address, arguments.ca_sha256, context.globals().timeout);
  }
  if (!known.empty()) return known;
  return fail("usage", "This site's CA is not known yet", "",
              "Give --ca FILE (the site's ca.pem), or --ca-sha256 with its fingerprint");
}

Result<std::string> find_password(const LoginArguments& arguments) {
  if (!arguments.password_file.empty()) return read_secret_file(arguments.password_file);
  const char* file = std::getenv("EVERSPAN_PASSWORD_FILE");
  if (file != nullptr && *file != '\0') return read_secret_file(file);
  return Terminal::ask_password("Password for " + harmless(arguments.account) + ": ");
}

}  // namespace

int login(Context& context, const LoginArguments& given) {
  LoginArguments arguments = given;
  Profile& profile = context.profile();
  const auto address = context.address();
  if (!address) return context.fail(address.error());
  auto ca = find_ca(context, arguments, *address, profile.site == *address ? profile.ca_pem : "");
  if (!ca) return context.fail(ca.error());
  if (arguments.account.empty()) {
    const auto account = Terminal::ask("Account: ");
    if (!account) {
      return context.fail({"usage", "It is not known who logs in", {}, "everspan login ACCOUNT"});
    }
    arguments.account = *account;
  }
  auto password = find_password(arguments);
  if (!password) return context.fail(password.error());

  // Tokens of another site, or of one with another CA, are worth nothing here.
  if (profile.ca_pem != *ca) {
    profile.tokens.clear();
    profile.nodes.clear();
  }
  profile.site = *address;
  profile.ca_pem = std::move(*ca);
  boost::json::object body;
  body["account"] = arguments.account;
  body["password"] = *password;
  body["area"] = arguments.area;
  // An appliance is one node: another one's would take the password for its own.
  const Where where = arguments.area == "appliance" ? Where::node : Where::site;
  const Answer answer = context.call("POST", "/api/v1/login", std::move(body), "", where);
  wipe(*password);
  if (!answer.ok()) return context.fail(answer);
  profile.tokens[arguments.area] = {text_of(answer.body, "token"), text_of(answer.body, "account"),
                                    text_of(answer.body, "expires_at")};
  const auto saved = save_profile(context.folder(), profile);
  if (!saved) return context.fail(saved.error());
  if (context.globals().json) {
    // Without the token: it is in the profile, and need not go through pipes and logs.
    boost::json::object shown = answer.body;
    shown.erase("token");
    context.terminal().print_line(boost::json::serialize(shown));
    return kOk;
  }
  context.terminal().note("Logged in to " + *address + " as " +
                          harmless(text_of(answer.body, "account")) + " (" + arguments.area +
                          ") until " + harmless(text_of(answer.body, "expires_at")));
  if (flag_of(answer.body, "local")) {
    context.terminal().note("This node is not the primary: only " + harmless(answer.node) +
                            " knows the log-in, for an hour at most");
  }
  return kOk;
}

int logout(Context& context, const std::string& area) {
  Profile& profile = context.profile();
  int exit = kOk;
  for (const std::string each : {"site", "appliance"}) {
    if ((!area.empty() && area != each) || !profile.tokens.contains(each)) continue;
    const Answer answer = context.call("POST", "/api/v1/logout", {}, each);
    // A token that the site does not take any more is logged out already.
    if (!answer.ok() && answer.status != 401) exit = context.fail(answer);
    profile.tokens.erase(each);
  }
  const auto saved = save_profile(context.folder(), profile);
  if (!saved) return context.fail(saved.error());
  return exit;
}

std::optional<SiteAccess> site_access(Context& context, int& exit) {
  const auto text = context.address();
  if (!text) {
    exit = context.fail(text.error());
    return std::nullopt;
  }
  const auto address = net::Address::parse(*text);
  const auto token = context.profile().tokens.find("site");
  if (!address || token == context.profile().tokens.end() || context.profile().ca_pem.empty()) {
    exit = context.fail({"unauthenticated", "You are not logged in", {}, "everspan login"});
    return std::nullopt;
  }
  return SiteAccess{address->host, address->port, token->second.token, context.profile().ca_pem,
                    context.other_nodes()};
}

}  // namespace everspan::cli
