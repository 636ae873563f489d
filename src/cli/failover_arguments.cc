// Arguments of `everspan failover ...`.
#include "cli/application.h"
#include "cli/commands.h"

namespace everspan::cli {
namespace {

void add_failover_key(Application& a, CLI::App* group) {
  CLI::App* key = a.command(group, "key", "The inter-appliance key of this appliance");
  key->require_subcommand(1);
  a.choose(a.command(key, "show", "Its fingerprint, and where it is"), failover_key_show);
  struct KeyArguments {
    bool replace = false;
    std::string out;
  };
  auto with = a.keep<KeyArguments>();
  CLI::App* create = a.command(key, "create", "Make one; good for one establishing");
  create->add_flag("--replace", with->replace, "In the place of the one that is there");
  create->add_option("--out", with->out, "File for it (0600), instead of standard output");
  a.choose(create, [with](Context& c) { return failover_key_create(c, with->replace, with->out); });
}

void add_failover_roles(Application& a, CLI::App* group) {
  for (const bool primary : {true, false}) {
    auto force = a.keep<bool>();
    CLI::App* at =
        a.command(group, primary ? "become-primary" : "become-backup",
                  primary ? "This node takes the writes over" : "This node gives the writes away");
    at->add_flag("--even-if-unreachable", *force,
                 "Without the other node; says what may be lost first");
    a.choose(at, [primary, force](Context& c) { return failover_become(c, primary, *force); });
  }
}

}  // namespace

void add_failover(Application& a) {
  CLI::App* group = a.group("failover", "Two appliances, one site");
  add_failover_key(a, group);
  auto with = a.keep<EstablishArguments>();
  CLI::App* establish = a.command(group, "establish", "Make another appliance this one's backup");
  establish->add_option("--backup", with->backup, "HOST:PORT where this node reaches the other")
      ->required();
  establish->add_option("--reverse", with->reverse, "HOST:PORT where the other reaches this node")
      ->required();
  establish->add_option("--key-file", with->key_file,
                        "File with the inter-appliance key of the other, - for standard input");
  establish->add_flag("--overwrite-backup", with->overwrite_backup,
                      "Replace a site of the other's own (not in this release: refused)");
  establish->add_flag("--dry-run", with->dry_run, "Check only");
  a.choose(establish, [with](Context& c) { return failover_establish(c, *with); });
  a.choose(a.command(group, "status", "Roles, lag and history"), failover_status);
  auto wait = a.keep<std::chrono::milliseconds>();
  *wait = std::chrono::minutes(10);
  CLI::App* sync = a.command(group, "sync", "Wait until both nodes have everything");
  duration_option(
      sync, "--wait", [wait](auto length) { *wait = length; }, "How long at most (10m)");
  a.choose(sync, [wait](Context& c) { return failover_sync(c, *wait); });
  add_failover_roles(a, group);
  auto forget = a.keep<bool>();
  CLI::App* end = a.command(group, "break", "End the relationship");
  end->add_flag("--forget", *forget, "And forget the other node's key");
  a.choose(end, [forget](Context& c) { return failover_break(c, *forget); });

  CLI::App* orphan = a.command(group, "orphan", "Entries that were cut off this node's log");
  orphan->require_subcommand(1);
  a.choose(a.command(orphan, "list", "All of them"), failover_orphan_list);
  struct OrphanArguments {
    std::string name;
    std::uint64_t after = 0;
    int limit = 100;
  };
  auto which = a.keep<OrphanArguments>();
  CLI::App* show = a.command(orphan, "show", "What was in one");
  show->add_option("name", which->name)->required();
  show->add_option("--after", which->after, "Entries after this revision");
  show->add_option("--limit", which->limit, "How many at most")->check(CLI::Range(1, 1000));
  a.choose(show, [which](Context& c) {
    return failover_orphan_show(c, which->name, which->after, which->limit);
  });
}

}  // namespace everspan::cli
