// The commands, each a function from its arguments to the exit status. app.cc reads the arguments.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/context.h"
#include "cli/run.h"

namespace everspan::cli {

struct LoginArguments {
  std::string account;
  std::string area = "site";
  std::string password_file;
  std::string ca_file;
  std::string ca_sha256;
};
int login(Context& context, const LoginArguments& arguments);
int logout(Context& context, const std::string& area);  // Empty: both.

int status(Context& context);
int about(Context& context);
int verify(Context& context);
int clients(Context& context);
int health(Context& context);
int journal(Context& context, std::optional<std::uint64_t> after, int limit);

int settings_list(Context& context);
int settings_get(Context& context, const std::string& key);
int settings_put(Context& context, const std::string& key, const std::string& value);

int endpoint_list(Context& context, const std::string& note_word);  // Empty: all.
int endpoint_note(Context& context, const std::string& name, const std::string& note);
int endpoint_show(Context& context, const std::string& name);
struct EnrolTokenArguments {
  int uses = 1;
  std::chrono::milliseconds expires_in = std::chrono::hours(24);
  std::string name;
};
int endpoint_enrol_token(Context& context, const EnrolTokenArguments& arguments);
int endpoint_remove(Context& context, const std::string& name);

int session_list(Context& context, bool all);
int session_show(Context& context, const std::string& id);
int session_end(Context& context, const std::string& id, const std::string& reason);
int recording_list(Context& context);
int recording_verify(Context& context, const std::string& session);

// Users of the site; with `appliance` the accounts of this node's own authority.
struct UserArguments {
  bool appliance = false;
  std::string name;
  std::vector<std::string> scopes;
  bool administrator = false;     // Every scope of the area.
  std::string password_file;      // Of the new password.
  std::string old_password_file;  // One's own.
};
[[nodiscard]] const std::vector<std::string>& scopes_of_area(bool appliance);
int user_list(Context& context, const UserArguments& arguments);
int user_show(Context& context, const UserArguments& arguments);
int user_add(Context& context, const UserArguments& arguments);
int user_grant(Context& context, const UserArguments& arguments, bool take_away);
int user_password(Context& context, const UserArguments& arguments);  // No name: one's own.
int user_switch(Context& context, const UserArguments& arguments, bool enable);
int user_remove(Context& context, const UserArguments& arguments);

int updates_check(Context& context);
int updates_list(Context& context);
int updates_install(Context& context, const std::string& version, bool detach);
// An empty `url` shows it. `ca_file`: authorities to trust for it.
int updates_source(Context& context, const std::string& url, const std::string& ca_file);

int upgrade_plan(Context& context, const std::string& to, const std::string& method);
struct ApplyArguments {
  std::string to;
  std::string method;
  std::optional<std::chrono::milliseconds> soak;
  bool finalize = false;
  bool detach = false;
};
int upgrade_apply(Context& context, const ApplyArguments& arguments);
int upgrade_status(Context& context, bool follow);
int upgrade_request(Context& context,
                    const std::string& what);  // pause, resume, rollback, finalize
// Shows an upgrade until it ends. Used by apply and install.
int follow_upgrade(Context& context, const std::string& plan);

int failover_status(Context& context);
int failover_key_show(Context& context);
// `out_file`: the key goes there (0600) instead of standard output.
int failover_key_create(Context& context, bool replace, const std::string& out_file);
struct EstablishArguments {
  std::string backup;
  std::string reverse;
  std::string key_file;  // Empty: the nodes know each other.
  bool overwrite_backup = false;
  bool dry_run = false;
};
int failover_establish(Context& context, const EstablishArguments& arguments);
int failover_sync(Context& context, std::chrono::milliseconds wait);
int failover_become(Context& context, bool primary, bool even_if_unreachable);
int failover_break(Context& context, bool forget);
int failover_orphan_list(Context& context);
int failover_orphan_show(Context& context, const std::string& name, std::uint64_t after, int limit);

// What connect and tunnel need; prints why not and sets `exit` otherwise.
std::optional<SiteAccess> site_access(Context& context, int& exit);

}  // namespace everspan::cli
