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

struct UserArguments {
  std::string name;
  std::vector<std::string> scopes;
  std::string password_file;      // Of the new password.
  std::string old_password_file;  // One's own.
};
int user_list(Context& context);
int user_show(Context& context, const std::string& name);
int user_add(Context& context, const UserArguments& arguments);
int user_grant(Context& context, const UserArguments& arguments, bool take_away);
int user_password(Context& context, const UserArguments& arguments);  // No name: one's own.
int user_switch(Context& context, const std::string& name, bool enable);
int user_remove(Context& context, const std::string& name);

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

// What connect and tunnel need; prints why not and sets `exit` otherwise.
std::optional<SiteAccess> site_access(Context& context, int& exit);

}  // namespace everspan::cli
