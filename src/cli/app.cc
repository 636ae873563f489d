// Reads the arguments and runs the command.
#include <iostream>
#include <utility>

#include "cli/application.h"
#include "cli/commands.h"
#include "cli/completion.h"
#include "cli/core/exit_code.h"
#include "cli/core/tunnel_spec.h"
#include "cli/run.h"
#include "common/version.h"

namespace everspan::cli {
namespace {

void add_globals(Application& a) {
  CLI::App& app = a.app;
  app.set_version_flag("--version", std::string(program_version()));
  app.add_option("--site", a.globals.site, "The site, HOST:PORT (EVERSPAN_SITE)");
  app.add_option("--profile", a.globals.profile, "Which log-in to use (EVERSPAN_PROFILE)");
  app.add_flag("--json", a.globals.json, "Print what the API answers");
  app.add_flag("--no-color", a.globals.no_color, "No colours");
  duration_option(
      &app, "--timeout", [&a](auto length) { a.globals.timeout = length; },
      "How long one answer may take (30s)");
  app.add_flag("-y,--yes", a.globals.yes, "Yes to every question");
  app.add_option("--confirm", a.globals.confirm, "The text that a dangerous command asks for");
  app.require_subcommand(1);
  app.fallthrough();
}

void add_login(Application& a) {
  auto login_with = a.keep<LoginArguments>();
  CLI::App* in = a.command(&a.app, "login", "Log in and remember the site");
  in->add_option("account", login_with->account, "Who logs in");
  in->add_option("--area", login_with->area, "site, or appliance (this machine)")
      ->check(CLI::IsMember({"site", "appliance"}));
  in->add_option("--password-file", login_with->password_file,
                 "File with the password (EVERSPAN_PASSWORD_FILE), - for standard input");
  auto* ca = in->add_option("--ca", login_with->ca_file, "The site's CA certificate, a PEM file");
  in->add_option("--ca-sha256", login_with->ca_sha256, "The SHA-256 of the site's CA, in hex")
      ->excludes(ca);
  a.choose(in, [login_with](Context& c) { return login(c, *login_with); });

  auto area = a.keep<std::string>();
  CLI::App* out = a.command(&a.app, "logout", "Give the tokens back");
  out->add_option("--area", *area, "One area only")->check(CLI::IsMember({"site", "appliance"}));
  a.choose(out, [area](Context& c) { return logout(c, *area); });
}

void add_status(Application& a) {
  a.choose(a.command(&a.app, "status", "The site and this node"), status);
  a.choose(a.command(&a.app, "about", "Versions"), about);
  a.choose(a.command(&a.app, "verify", "Run a session through the site, end to end"), verify);
  a.choose(a.command(&a.app, "clients", "Who is connected"), clients);
  a.choose(a.command(&a.app, "health", "Alive, and serving?"), health);
  struct JournalArguments {
    std::optional<std::uint64_t> after;
    int limit = 100;
  };
  auto with = a.keep<JournalArguments>();
  CLI::App* at = a.command(&a.app, "journal", "Who did what");
  at->add_option("--after", with->after, "Entries after this number");
  at->add_option("--limit", with->limit, "How many at most")->check(CLI::Range(1, 1000));
  a.choose(at, [with](Context& c) { return journal(c, with->after, with->limit); });
}

void add_settings(Application& a) {
  CLI::App* group = a.group("settings", "Settings of the site");
  a.choose(a.command(group, "list", "All settings"), settings_list);
  auto key = a.keep<std::string>();
  auto value = a.keep<std::string>();
  CLI::App* get = a.command(group, "get", "One setting");
  get->add_option("key", *key)->required();
  a.choose(get, [key](Context& c) { return settings_get(c, *key); });
  CLI::App* put = a.command(group, "put", "Change a setting");
  put->add_option("key", *key)->required();
  put->add_option("value", *value)->required();
  a.choose(put, [key, value](Context& c) { return settings_put(c, *key, *value); });
}

void add_endpoints(Application& a) {
  CLI::App* group = a.group("endpoint", "Remote computers");
  auto name = a.keep<std::string>();
  auto note = a.keep<std::string>();
  CLI::App* list = a.command(group, "list", "All endpoints");
  list->add_option("--note", *note, "Only those whose note contains this word");
  a.choose(list, [note](Context& c) { return endpoint_list(c, *note); });
  CLI::App* write = a.command(group, "note", "Write a note on an endpoint; \"\" takes it away");
  write->add_option("name", *name)->required();
  write->add_option("text", *note, "One line, at most 1000 characters")->required();
  a.choose(write, [name, note](Context& c) { return endpoint_note(c, *name, *note); });
  CLI::App* show = a.command(group, "show", "One endpoint");
  show->add_option("name", *name)->required();
  a.choose(show, [name](Context& c) { return endpoint_show(c, *name); });
  CLI::App* remove = a.command(group, "remove", "Forget an endpoint");
  remove->add_option("name", *name)->required();
  a.choose(remove, [name](Context& c) { return endpoint_remove(c, *name); });
  auto with = a.keep<EnrolTokenArguments>();
  CLI::App* token = a.command(group, "enrol-token", "Make a token that enrols an endpoint");
  token->add_option("--uses", with->uses, "How many endpoints it enrols")
      ->check(CLI::Range(1, 10000));
  duration_option(
      token, "--expires-in", [with](auto length) { with->expires_in = length; },
      "How long it is valid (24h)");
  token->add_option("--name", with->name, "Only for this endpoint");
  a.choose(token, [with](Context& c) { return endpoint_enrol_token(c, *with); });
}

void add_sessions(Application& a) {
  CLI::App* group = a.group("session", "Sessions");
  auto all = a.keep<bool>();
  auto id = a.keep<std::string>();
  auto reason = a.keep<std::string>();
  CLI::App* list = a.command(group, "list", "Live sessions");
  list->add_flag("--all", *all, "Ended ones too");
  a.choose(list, [all](Context& c) { return session_list(c, *all); });
  CLI::App* show = a.command(group, "show", "One session");
  show->add_option("id", *id)->required();
  a.choose(show, [id](Context& c) { return session_show(c, *id); });
  CLI::App* end = a.command(group, "end", "End a session");
  end->add_option("id", *id)->required();
  end->add_option("--reason", *reason, "For the journal");
  a.choose(end, [id, reason](Context& c) { return session_end(c, *id, *reason); });

  CLI::App* recordings = a.group("recording", "Recordings");
  a.choose(a.command(recordings, "list", "All recordings"), recording_list);
  CLI::App* check = a.command(recordings, "verify", "Check a recording for gaps and forgery");
  check->add_option("session", *id)->required();
  a.choose(check, [id](Context& c) { return recording_verify(c, *id); });
}

// Scopes as words, or all of them: an administrator has every one of his area. Which words the area
// has is checked when it is known, after all arguments were read.
void scope_options(CLI::App* at, const std::string& name, UserArguments& into) {
  auto* words = at->add_option(name, into.scopes, "What he may do");
  at->add_flag("--administrator", into.administrator, "Every scope")->excludes(words);
}

void add_users(Application& a) {
  CLI::App* group = a.group("user", "Users of the site, or accounts of this appliance");
  auto with = a.keep<UserArguments>();
  group->add_flag("--appliance", with->appliance,
                  "Accounts of this appliance's own authority (log in with --area appliance)");
  a.choose(a.command(group, "list", "All users"),
           [with](Context& c) { return user_list(c, *with); });
  const auto one = [&](const char* word, const char* what) {
    CLI::App* at = a.command(group, word, what);
    at->add_option("name", with->name)->required();
    return at;
  };
  a.choose(one("show", "One user"), [with](Context& c) { return user_show(c, *with); });
  CLI::App* add = one("add", "Make an account; the password is asked for");
  scope_options(add, "--scope", *with);
  add->add_option("--password-file", with->password_file,
                  "File with the password, - for standard input");
  a.choose(add, [with](Context& c) { return user_add(c, *with); });
  CLI::App* grant = one("grant", "Give scopes to a user, or take them away");
  scope_options(grant, "scopes", *with);
  auto take = a.keep<bool>();
  grant->add_flag("--take-away", *take, "Take these away");
  a.choose(grant, [with, take](Context& c) { return user_grant(c, *with, *take); });
  CLI::App* password = a.command(group, "passwd", "Change a password: your own, or a user's");
  password->add_option("name", with->name, "Whose (your own)");
  password->add_option("--password-file", with->password_file,
                       "File with the new password, - for standard input");
  password->add_option("--old-password-file", with->old_password_file,
                       "File with your own old password");
  a.choose(password, [with](Context& c) { return user_password(c, *with); });
  a.choose(one("disable", "End a user's log-ins and sessions and let him log in no more"),
           [with](Context& c) { return user_switch(c, *with, false); });
  a.choose(one("enable", "Let a disabled user log in again"),
           [with](Context& c) { return user_switch(c, *with, true); });
  a.choose(one("remove", "Delete an account"),
           [with](Context& c) { return user_remove(c, *with); });
}

void add_updates(Application& a) {
  CLI::App* group = a.group("updates", "Software of this appliance");
  a.choose(a.command(group, "check", "Ask the depot now"), updates_check);
  a.choose(a.command(group, "list", "Known releases"), updates_list);
  auto url = a.keep<std::string>();
  CLI::App* source = a.command(group, "source", "Show or set the depot");
  source->add_option("url", *url);
  auto ca = a.keep<std::string>();
  source->add_option("--ca", *ca, "PEM file with the depot's own authority");
  a.choose(source, [url, ca](Context& c) { return updates_source(c, *url, *ca); });
  auto version = a.keep<std::string>();
  auto detach = a.keep<bool>();
  CLI::App* install = a.command(group, "install", "Install a release on this appliance");
  install->add_option("version", *version)->required();
  install->add_flag("--detach", *detach, "Do not wait for its end");
  a.choose(install, [=](Context& c) { return updates_install(c, *version, *detach); });
}

void add_upgrade(Application& a) {
  CLI::App* group = a.group("upgrade", "Upgrade the site");
  auto with = a.keep<ApplyArguments>();
  CLI::App* plan = a.command(group, "plan", "Show the steps");
  CLI::App* apply = a.command(group, "apply", "Do it, and show how it goes");
  for (CLI::App* each : {plan, apply}) {
    each->add_option("--to", with->to, "The release (the newest that can be installed)");
    each->add_option("--method", with->method, "single, sync, async or rolling");
  }
  duration_option(
      apply, "--soak", [with](auto length) { with->soak = length; },
      "How long the new release is watched");
  apply->add_flag("--finalize", with->finalize, "Give the way back up after the soak");
  apply->add_flag("--detach", with->detach, "Do not wait for its end");
  a.choose(plan, [with](Context& c) { return upgrade_plan(c, with->to, with->method); });
  a.choose(apply, [with](Context& c) { return upgrade_apply(c, *with); });
  auto follow = a.keep<bool>();
  CLI::App* status = a.command(group, "status", "Where the upgrade is");
  status->add_flag("--follow", *follow, "Until it ends");
  a.choose(status, [follow](Context& c) { return upgrade_status(c, *follow); });
  const std::pair<std::string, std::string> requests[] = {
      {"pause", "Stop at the next place where one may rest"},
      {"resume", "Go on"},
      {"rollback", "Go back to the release before"},
      {"finalize", "Give the way back up"}};
  for (const auto& [name, what] : requests) {
    a.choose(a.command(group, name, what),
             [name = name](Context& c) { return upgrade_request(c, name); });
  }
}

int start_connect(Context& context, const Programs& programs, ConnectCall& call) {
  int exit = kOk;
  const auto site = site_access(context, exit);
  if (!site) return exit;
  call.site = *site;
  return programs.connect(call);
}

int start_tunnel(Context& context, const Programs& programs, TunnelCall& call,
                 const std::string& spec) {
  const auto parsed = parse_tunnel_spec(spec);
  if (!parsed) return context.fail(parsed.error());
  if (!call.stdio) call.listen = parsed->listen;
  call.host = parsed->host;
  call.port = parsed->port;
  int exit = kOk;
  const auto site = site_access(context, exit);
  if (!site) return exit;
  call.site = *site;
  return programs.tunnel(call);
}

void add_remote_access(Application& a) {
  if (a.programs->connect) {
    auto call = a.keep<ConnectCall>();
    CLI::App* at = a.command(&a.app, "connect", "A terminal, or a command, on an endpoint");
    at->footer(
        "everspan connect NAME [-T] [-- PROGRAM ARGUMENT...]   the words as they are\n"
        "everspan connect [-T] NAME LINE...                    a line for the shell there, as ssh "
        "has it (rsync -e, GIT_SSH_COMMAND)");
    at->add_option("name", call->endpoint)->required();
    at->add_flag("-T,--no-terminal", call->no_terminal, "No terminal: bytes as they are");
    at->add_option("--reason", call->reason, "For the journal");
    at->add_option("--state-file", call->state_file, "Where another console could go on from");
    auto* resume = at->add_flag("--resume", call->resume, "Go on from --state-file");
    at->add_option("--via", call->via,
                   "Node that the console dials: primary, backup, HOST:PORT, or an id's beginning")
        ->excludes(resume);
    at->callback([&a, call] {
      a.takes_remote_command = true;
      call->command = a.remote_command;
      a.chosen = [&a, call](Context& c) { return start_connect(c, *a.programs, *call); };
    });
  }
  if (a.programs->tunnel) {
    auto call = a.keep<TunnelCall>();
    auto spec = a.keep<std::string>();
    CLI::App* at = a.command(&a.app, "tunnel", "A port that leads to a network behind an endpoint");
    at->add_option("name", call->endpoint)->required();
    at->add_option("where", *spec, "[LISTEN:]HOST:PORT")->required();
    at->add_flag("--stdio", call->stdio, "One connection over standard input and output");
    at->add_option("--reason", call->reason, "For the journal");
    a.choose(at,
             [&a, call, spec](Context& c) { return start_tunnel(c, *a.programs, *call, *spec); });
  }
}

void add_completions(Application& a) {
  auto shell = a.keep<std::string>();
  CLI::App* at = a.command(&a.app, "completions", "Print completions for a shell");
  at->add_option("shell", *shell, "bash")->required()->check(CLI::IsMember({"bash"}));
  a.choose(at, [&a](Context& c) {
    c.terminal().print(bash_completion(command_words(a.app)));
    return static_cast<int>(kOk);
  });
}

// Where our own words end: at "--", or, for connect, at the first word behind the endpoint's name:
// no word of a remote command is ours, however much it looks like an option.
int end_of_own_words(const Application& a, int argc, char** argv) {
  const CLI::App* at = &a.app;
  bool named = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--") return i;
    if (word.size() > 1 && word[0] == '-') {
      const CLI::Option* option = at->get_option_no_throw(word);
      if (option == nullptr) option = a.app.get_option_no_throw(word);
      if (option != nullptr && option->get_items_expected_max() > 0) ++i;
    } else if (at == &a.app) {
      for (const CLI::App* sub : a.app.get_subcommands({}))
        if (sub->check_name(word)) at = sub;
    } else if (at->get_name() == "connect" && std::exchange(named, true)) {
      return i;
    }
  }
  return argc;
}

std::vector<std::string> remote_words(int argc, char** argv, int own) {
  if (own == argc) return {};
  if (std::string_view(argv[own]) == "--") return {argv + own + 1, argv + argc};
  std::string line = argv[own];  // One word is a line for the shell there.
  for (int i = own + 1; i < argc; ++i) line += std::string(" ") + argv[i];
  return {line};
}

}  // namespace

int run(int argc, char** argv, const Programs& programs) {
  Application a;
  a.programs = &programs;
  add_globals(a);
  add_login(a);
  add_status(a);
  add_settings(a);
  add_endpoints(a);
  add_sessions(a);
  add_users(a);
  add_updates(a);
  add_upgrade(a);
  add_failover(a);
  add_remote_access(a);
  add_completions(a);

  const int own = end_of_own_words(a, argc, argv);
  a.remote_command = remote_words(argc, argv, own);
  try {
    a.app.parse(own, argv);
  } catch (const CLI::ParseError& e) {
    return a.app.exit(e) == 0 ? kOk : kUsage;
  }
  if (own < argc && !a.takes_remote_command) {
    std::cerr << "everspan: only connect takes a command behind --\n";
    return kUsage;
  }
  auto context = Context::make(std::move(a.globals));
  if (!context) {
    std::cerr << "everspan: " << context.error().text() << "\n";
    return exit_code_for(0, context.error().code);
  }
  return a.chosen(*context);
}

}  // namespace everspan::cli
