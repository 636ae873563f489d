#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/core/exit_code.h"

namespace everspan::cli {
namespace {

using boost::json::object;

void field(const Context& context, std::string_view name, const std::string& value) {
  std::string label(name);
  label.resize(18, ' ');
  context.terminal().print_line(label + value);
}

std::string short_digest(const std::string& digest) {
  return harmless(digest.substr(0, 12));
}

void print_upgrade(const Context& context, const object& upgrade) {
  const std::string state = text_of(upgrade, "state");
  if (state.empty() || state == "none") return;
  field(context, "upgrade",
        context.terminal().state(state) + "  " + harmless(text_of(upgrade, "from")) + " -> " +
            harmless(text_of(upgrade, "to")));
}

}  // namespace

int status(Context& context) {
  const Answer answer = context.get("/api/v1/status");
  if (!answer.ok()) return context.fail(answer);
  if (context.print_json(answer)) return kOk;
  const object& body = answer.body;
  const object& node = object_of(body, "node");
  field(context, "site", context.terminal().bold(harmless(text_of(body, "site"))));
  field(context, "node",
        short_digest(text_of(node, "id")) + "  " + harmless(text_of(node, "address")));
  field(context, "release",
        harmless(text_of(node, "version")) + "  " + short_digest(text_of(node, "digest")));
  field(context, "up for",
        duration_text(std::chrono::milliseconds(number_of(node, "uptime_s") * 1000)));
  field(context, "role", harmless(text_of(body, "role")));
  field(context, "epoch", text_of(body, "epoch") + ", generation " + text_of(body, "generation"));
  field(context, "revision",
        text_of(body, "committed_revision") + " committed, " + text_of(body, "revision") +
            " appended");
  field(context, "sessions", text_of(body, "sessions"));
  field(context, "agents", text_of(body, "agents"));
  field(context, "feature level", text_of(body, "feature_level"));
  print_upgrade(context, object_of(body, "upgrade"));
  if (flag_of(node, "single_user")) {
    field(context, "privileges", "not separated: one user runs everything");
  }
  std::vector<Row> rows;
  for (const object& slot : list_of(body, "slots")) {
    rows.push_back({text_of(slot, "role"), text_of(slot, "version"),
                    short_digest(text_of(slot, "digest")), text_of(slot, "pid"),
                    flag_of(slot, "ready") ? "ready" : "not ready"});
  }
  if (rows.empty()) return kOk;
  context.terminal().print_line("");
  context.print_table({{"SLOT"}, {"VERSION"}, {"DIGEST"}, {"PID", Align::right}, {"STATE"}}, rows,
                      "");
  return kOk;
}

int about(Context& context) {
  const Answer answer = context.get("/api/v1/about");
  if (!answer.ok()) return context.fail(answer);
  if (context.print_json(answer)) return kOk;
  for (const auto& member : answer.body) {
    field(context, harmless(member.key()), harmless(text_of(answer.body, member.key())));
  }
  return kOk;
}

int verify(Context& context) {
  const Answer answer = context.call("POST", "/api/v1/verify", {});
  if (!answer.ok()) return context.fail(answer);
  const int exit = flag_of(answer.body, "ok") ? kOk : kFailed;
  if (context.print_json(answer)) return exit;
  std::vector<Row> rows;
  for (const object& check : list_of(answer.body, "checks")) {
    rows.push_back(
        {flag_of(check, "ok") ? "ok" : "FAILED", text_of(check, "name"), text_of(check, "detail")});
  }
  context.print_table({{"RESULT"}, {"CHECK"}, {"DETAIL", Align::left, true}}, rows,
                      "The site checked nothing");
  return exit;
}

int health(Context& context) {
  // /healthz and /readyz take no token; a 503 of the second is an answer, not a failure to answer.
  const Answer alive = context.get("/healthz", "");
  if (!alive.ok()) return context.fail(alive);
  const Answer ready = context.get("/readyz", "");
  if (!ready.ok() && ready.status != 503) return context.fail(ready);
  if (context.globals().json) {
    object out;
    out["alive"] = true;
    out["ready"] = ready.ok();
    context.terminal().print_line(boost::json::serialize(out));
  } else {
    context.terminal().print_line(ready.ok() ? "alive, ready" : "alive, not ready");
  }
  return ready.ok() ? kOk : kUnreachable;
}

int clients(Context& context) {
  const Answer answer = context.get("/api/v1/clients");
  if (!answer.ok()) return context.fail(answer);
  if (context.print_json(answer)) return kOk;
  std::vector<Row> rows;
  for (const object& row : list_of(answer.body, "clients")) {
    rows.push_back({text_of(row, "kind"), text_of(row, "name"), text_of(row, "person"),
                    text_of(row, "endpoint"), text_of(row, "address"), text_of(row, "release"),
                    text_of(row, "generation"), text_of(row, "since")});
  }
  context.print_table({{"KIND"},
                       {"NAME", Align::left, true},
                       {"PERSON", Align::left, true},
                       {"ENDPOINT", Align::left, true},
                       {"ADDRESS", Align::left, true},
                       {"RELEASE"},
                       {"GEN", Align::right},
                       {"SINCE"}},
                      rows, "Nobody is connected");
  return kOk;
}

int journal(Context& context, std::optional<std::uint64_t> after, int limit) {
  std::string path = "/api/v1/journal?limit=" + std::to_string(limit);
  if (after) path += "&after=" + std::to_string(*after);
  const Answer answer = context.get(path);
  if (!answer.ok()) return context.fail(answer);
  if (context.print_json(answer)) return kOk;
  std::vector<Row> rows;
  for (const object& entry : list_of(answer.body, "entries")) {
    const object& detail = object_of(entry, "detail");
    rows.push_back({text_of(entry, "seq"), text_of(entry, "at"), text_of(entry, "who"),
                    text_of(entry, "what"), text_of(entry, "subject"),
                    detail.empty() ? "" : boost::json::serialize(detail)});
  }
  context.print_table({{"SEQ", Align::right},
                       {"AT"},
                       {"WHO", Align::left, true},
                       {"WHAT"},
                       {"SUBJECT", Align::left, true},
                       {"DETAIL", Align::left, true}},
                      rows, "The journal has nothing after that");
  return kOk;
}

}  // namespace everspan::cli
