// The failover pair: the inter-appliance key, and establishing.
#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/core/exit_code.h"
#include "cli/core/failover_view.h"
#include "cli/files.h"
#include "common/crypto.h"

namespace everspan::cli {
namespace {

using boost::json::object;

void print_checks(const Context& context, const object& body) {
  std::vector<Row> rows;
  for (const object& check : list_of(body, "checks"))
    rows.push_back({std::string(check_word(flag_of(check, "ok"), flag_of(check, "warning"))),
                    text_of(check, "name"), text_of(check, "detail")});
  context.print_table({{"RESULT"}, {"CHECK"}, {"DETAIL", Align::left, true}}, rows,
                      "Nothing could be checked");
}

Error error_at(const object& at) {
  return {text_of(at, "code"), harmless(text_of(at, "message")), harmless(text_of(at, "kept")),
          harmless(text_of(at, "next"))};
}

// What the checks found; a refusal gives its exit status, else nothing.
std::optional<int> print_report(const Context& context, const Answer& answer) {
  const bool checked = answer.body.contains("checks");
  if (!answer.ok() && !checked) return context.fail(answer);
  if (context.globals().json) {
    context.terminal().print_line(answer.raw);
  } else {
    print_checks(context, answer.body);
    const std::string would = text_of(answer.body, "would");
    if (!would.empty()) context.terminal().print_line("\n" + harmless(would));
  }
  if (!answer.ok()) return context.fail(answer);
  const object& refused = object_of(answer.body, "refused");
  if (refused.empty()) return std::nullopt;
  constexpr int kConflictStatus = 409;
  return context.fail(error_at(refused), kConflictStatus);
}

object establish_body(const EstablishArguments& arguments, const std::string& key, bool dry_run) {
  object body;
  body["backup"] = arguments.backup;
  body["reverse"] = arguments.reverse;
  if (!key.empty()) body["key"] = key;
  body["overwrite_backup"] = arguments.overwrite_backup;
  body["dry_run"] = dry_run;
  return body;
}

Answer ask_establish(Context& context, const EstablishArguments& arguments, const std::string& key,
                     bool dry_run) {
  return context.call("POST", "/api/v1/failover/establish", establish_body(arguments, key, dry_run),
                      "site", Where::node);
}

// Replacing a site cannot be taken back; the other way only adds a node.
Result<void> agree_to_establish(const Context& context, const EstablishArguments& arguments) {
  if (arguments.overwrite_backup)
    return context.confirm_text(
        "The site at " + arguments.backup +
            " is replaced by this one; its log is kept there as log.db.lost-*.",
        arguments.backup);
  return context.confirm("Establish the relationship now?");
}

int establish_with(Context& context, const EstablishArguments& arguments, const std::string& key) {
  const bool asks = !context.globals().yes || arguments.overwrite_backup;
  if (arguments.dry_run || asks) {
    const Answer checked = ask_establish(context, arguments, key, true);
    if (const auto refused = print_report(context, checked)) return *refused;
    if (arguments.dry_run) return kOk;
    const auto sure = agree_to_establish(context, arguments);
    if (!sure) return context.fail(sure.error());
  }
  const Answer done = ask_establish(context, arguments, key, false);
  if (const auto refused = print_report(context, done)) return *refused;
  if (!flag_of(done.body, "established"))
    return context.fail({"checks_failed", "The relationship was not established",
                         "Nothing was changed", "See the checks"});
  if (!context.globals().json)
    context.terminal().note("Established. The backup takes a copy now: everspan failover sync");
  return kOk;
}

}  // namespace

int failover_key_show(Context& context) {
  const Answer answer = context.get("/api/v1/appliance/failover/key", "appliance");
  if (!answer.ok()) return context.fail(answer);
  if (context.print_json(answer)) return kOk;
  if (!flag_of(answer.body, "present")) {
    context.terminal().note("This node has no inter-appliance key: everspan failover key create");
    return kOk;
  }
  context.print_field("fingerprint", harmless(text_of(answer.body, "fingerprint")));
  context.print_field("on the node", harmless(text_of(answer.body, "path")));
  return kOk;
}

int failover_key_create(Context& context, bool replace, const std::string& out_file) {
  object body;
  body["replace"] = replace;
  Answer answer =
      context.call("POST", "/api/v1/appliance/failover/key", std::move(body), "appliance");
  if (!answer.ok()) return context.fail(answer);
  std::string key = text_of(answer.body, "key");
  if (!out_file.empty()) {
    const auto written = write_secret_file(out_file, key + "\n");
    wipe(key);
    if (!written) return context.fail(written.error());
    answer.body.erase("key");  // It is in the file, and need not go through pipes and logs.
    answer.raw = boost::json::serialize(answer.body);
  }
  if (context.print_json(answer)) return kOk;
  if (out_file.empty()) context.terminal().print_line(harmless(key));
  wipe(key);
  context.terminal().note(
      "Fingerprint " + harmless(text_of(answer.body, "fingerprint")) +
      "; good for one establishing. On the node: " + harmless(text_of(answer.body, "path")));
  return kOk;
}

int failover_establish(Context& context, const EstablishArguments& arguments) {
  std::string key;
  if (!arguments.key_file.empty()) {
    auto read = read_secret_file(arguments.key_file);
    if (!read) return context.fail(read.error());
    key = std::move(*read);
  }
  const int exit = establish_with(context, arguments, key);
  wipe(key);
  return exit;
}

}  // namespace everspan::cli
