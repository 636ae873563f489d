// Updates of this appliance, and upgrades of the site.
#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/core/exit_code.h"
#include "cli/core/upgrade_view.h"
#include "cli/files.h"
#include "net/async.h"

namespace everspan::cli {
namespace {

using boost::json::object;

constexpr auto kPollOnTerminal = std::chrono::milliseconds(200);
constexpr auto kPollElsewhere = std::chrono::milliseconds(500);
// A site that does not answer for so long while it is followed is given up.
constexpr Duration kSilenceMax = std::chrono::seconds(60);

int print_releases(Context& context, const Answer& answer) {
  if (!answer.ok()) return context.fail(answer);
  if (context.print_json(answer)) return kOk;
  std::vector<Row> rows;
  for (const object& row : list_of(answer.body, "releases")) {
    const std::string state = flag_of(row, "installed")     ? "installed"
                              : flag_of(row, "installable") ? "installable"
                                                            : text_of(row, "why_not");
    rows.push_back({text_of(row, "version"), bytes_text(number_of(row, "bytes")), state,
                    text_of(row, "notes")});
  }
  context.print_table({{"VERSION"},
                       {"SIZE", Align::right},
                       {"STATE", Align::left, true},
                       {"NOTES", Align::left, true}},
                      rows, "No release is known: everspan updates check");
  return kOk;
}

UpgradeStatus read_status(const object& body) {
  UpgradeStatus out;
  out.plan = text_of(body, "plan");
  out.state = text_of(body, "state");
  out.step = text_of(body, "step");
  out.why = text_of(body, "why");
  out.sessions_moved = number_of(body, "sessions_moved");
  out.sessions_total = number_of(body, "sessions_total");
  out.legs_left = number_of(body, "legs_left");
  for (const object& step : list_of(body, "steps")) {
    out.steps.push_back({text_of(step, "id"), text_of(step, "kind"), text_of(step, "state"),
                         text_of(step, "detail"), text_of(step, "started_at"),
                         text_of(step, "ended_at")});
  }
  return out;
}

void print_plan(Context& context, const object& plan) {
  context.terminal().print_line(
      context.terminal().bold("From " + harmless(text_of(object_of(plan, "from"), "version")) +
                              " to " + harmless(text_of(object_of(plan, "to"), "version"))) +
      ", method " + harmless(text_of(plan, "method")));
  std::vector<Row> rows;
  for (const object& step : list_of(plan, "steps")) {
    rows.push_back({text_of(step, "id"), text_of(step, "title"),
                    flag_of(step, "safe") ? "yes" : "no", text_of(step, "way_back")});
  }
  context.print_table({{"STEP", Align::right},
                       {"WHAT", Align::left, true},
                       {"MAY REST"},
                       {"WAY BACK", Align::left, true}},
                      rows, "Nothing is to be done");
}

object plan_body(const std::string& to, const std::string& method) {
  object body;
  if (!to.empty()) body["to"] = to;
  if (!method.empty()) body["method"] = method;
  return body;
}

bool no_answer(const Answer& answer) {
  return answer.exit == kUnreachable;
}

void print_end(const Context& context, const UpgradeStatus& status) {
  if (context.globals().json) return;
  if (status.state == "awaiting_finalize") {
    context.terminal().note(
        "The new release serves. Going back is possible until: everspan upgrade finalize");
  }
  if (status.state == "rolled_back") {
    context.terminal().note("The site went back to the release before" +
                            (status.why.empty() ? "" : ": " + harmless(status.why)));
  }
  if (status.state == "parked") {
    context.terminal().note("The upgrade is parked: everspan upgrade resume, or rollback");
  }
}

int started(Context& context, const Answer& answer, bool detach) {
  if (!answer.ok()) return context.fail(answer);
  const std::string plan = text_of(answer.body, "plan");
  if (!detach) return follow_upgrade(context, plan);
  if (!context.print_json(answer)) context.terminal().print_line(harmless(plan));
  return kOk;
}

}  // namespace

int updates_check(Context& context) {
  return print_releases(context,
                        context.call("POST", "/api/v1/appliance/updates/refresh", {}, "appliance"));
}

int updates_list(Context& context) {
  const bool appliance = context.profile().tokens.contains("appliance");
  return print_releases(context, appliance ? context.get("/api/v1/appliance/updates", "appliance")
                                           : context.get("/api/v1/updates"));
}

int updates_install(Context& context, const std::string& version, bool detach) {
  const auto sure = context.confirm("Install " + version + " on this appliance now?");
  if (!sure) return context.fail(sure.error());
  object body;
  body["version"] = version;
  return started(
      context,
      context.call("POST", "/api/v1/appliance/updates/install", std::move(body), "appliance"),
      detach);
}

int updates_source(Context& context, const std::string& url, const std::string& ca_file) {
  const std::string path = "/api/v1/appliance/updates/source";
  object body;
  body["url"] = url;
  if (!ca_file.empty()) {
    constexpr std::size_t kPemBytesMax = 16 * 1024;
    const auto pem = read_file(ca_file, kPemBytesMax);
    if (!pem) return context.fail(pem.error());
    body["ca_pem"] = *pem;
  }
  const Answer answer = url.empty() ? context.get(path, "appliance")
                                    : context.call("PUT", path, std::move(body), "appliance");
  if (!answer.ok()) return context.fail(answer);
  if (!context.print_json(answer)) {
    context.terminal().print_line(harmless(text_of(answer.body, "url")));
  }
  return kOk;
}

int upgrade_plan(Context& context, const std::string& to, const std::string& method) {
  const Answer answer = context.call("POST", "/api/v1/upgrade/plan", plan_body(to, method));
  if (!answer.ok()) return context.fail(answer);
  if (!context.print_json(answer)) print_plan(context, object_of(answer.body, "plan"));
  return kOk;
}

int upgrade_apply(Context& context, const ApplyArguments& arguments) {
  if (!context.globals().yes) {
    const Answer plan =
        context.call("POST", "/api/v1/upgrade/plan", plan_body(arguments.to, arguments.method));
    if (!plan.ok()) return context.fail(plan);
    if (!context.globals().json) print_plan(context, object_of(plan.body, "plan"));
    const auto sure = context.confirm("Apply this plan now?");
    if (!sure) return context.fail(sure.error());
  }
  object body = plan_body(arguments.to, arguments.method);
  if (arguments.soak) body["soak_s"] = arguments.soak->count() / 1000;
  if (arguments.finalize) body["auto_finalize"] = true;
  return started(context, context.call("POST", "/api/v1/upgrade/apply", std::move(body)),
                 arguments.detach);
}

int follow_upgrade(Context& context, const std::string& plan) {
  const bool shows = context.terminal().out_is_terminal() && !context.globals().json;
  const Instant begin = net::now();
  Instant heard = begin;
  UpgradeView view;
  if (shows) context.terminal().note("Ctrl-C leaves the upgrade running");
  for (;;) {
    const Answer answer = context.get("/api/v1/upgrade");
    const auto elapsed = std::chrono::duration_cast<std::chrono::milliseconds>(net::now() - begin);
    if (!answer.ok()) {
      if (no_answer(answer) && net::now() - heard < kSilenceMax) {
        pause_between_tries(kPollElsewhere);
        continue;
      }
      context.terminal().clear_changing_line();
      return context.fail(answer);
    }
    heard = net::now();
    const UpgradeStatus status = read_status(answer.body);
    if (!plan.empty() && status.plan != plan) {
      return context.fail({"conflict",
                           "Another upgrade took the place of the one that was followed",
                           {},
                           "everspan upgrade status"},
                          409);
    }
    const UpgradeEnd end = upgrade_end(status.state);
    if (!context.globals().json) {
      context.terminal().clear_changing_line();
      for (const std::string& line : view.news(status, elapsed))
        context.terminal().print_line(line);
      if (!end.ended)
        context.terminal().show_changing_line(UpgradeView::status_line(status, elapsed));
    }
    if (end.ended) {
      context.print_json(answer);
      print_end(context, status);
      return end.exit;
    }
    pause_between_tries(shows ? kPollOnTerminal : kPollElsewhere);
  }
}

int upgrade_status(Context& context, bool follow) {
  const Answer answer = context.get("/api/v1/upgrade");
  if (!answer.ok()) return context.fail(answer);
  const UpgradeStatus status = read_status(answer.body);
  const bool running = status.state != "none" && !upgrade_end(status.state).ended;
  if (follow && running) return follow_upgrade(context, status.plan);
  if (context.print_json(answer)) return kOk;
  context.terminal().print_line(context.terminal().state(status.state) +
                                (status.why.empty() ? "" : "  " + harmless(status.why)));
  if (status.state == "none") return kOk;
  context.terminal().print_line(
      harmless(text_of(object_of(answer.body, "from"), "version")) + " -> " +
      harmless(text_of(object_of(answer.body, "to"), "version")) + ", " +
      std::to_string(status.sessions_moved) + "/" + std::to_string(status.sessions_total) +
      " sessions moved" + legs_left_text(status.legs_left));
  std::vector<Row> rows;
  for (const UpgradeStep& step : status.steps) {
    rows.push_back({step.id, step.kind, step.state, step.started_at, step.ended_at, step.detail});
  }
  context.print_table({{"STEP", Align::right},
                       {"KIND"},
                       {"STATE"},
                       {"STARTED"},
                       {"ENDED"},
                       {"DETAIL", Align::left, true}},
                      rows, "The plan has no steps");
  return kOk;
}

int upgrade_request(Context& context, const std::string& what) {
  if (what == "rollback" || what == "finalize") {
    const auto sure =
        context.confirm(what == "rollback" ? "Go back to the release before?"
                                           : "Finalize? There is no way back after it.");
    if (!sure) return context.fail(sure.error());
  }
  const Answer answer = context.call("POST", "/api/v1/upgrade/" + what, {});
  if (!answer.ok()) return context.fail(answer);
  context.print_json(answer);
  return kOk;
}

}  // namespace everspan::cli
