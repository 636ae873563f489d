#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/core/exit_code.h"
#include "cli/core/failover_view.h"

namespace everspan::cli {
namespace {

using boost::json::object;

std::string short_digest(const std::string& digest) {
  return harmless(digest.substr(0, 12));
}

// The pair's role where the site names one, and the other node.
void print_role(const Context& context, const object& body) {
  const std::string pair = text_of(body, "node_role");
  context.print_field("role", harmless(pair.empty() ? text_of(body, "role") : pair));
  const object& peer = object_of(body, "peer");
  if (peer.empty()) return;
  context.print_field(
      "peer", short_id(text_of(peer, "id")) + "  " + harmless(text_of(peer, "address")) + "  " +
                  harmless(text_of(peer, "role")) + ", " +
                  (flag_of(peer, "connected") ? "connected" : "not connected") + ", " +
                  context.terminal().state(
                      sync_word(true, flag_of(body, "peer_in_sync"), pair == "diverged")));
}

void print_upgrade(const Context& context, const object& upgrade) {
  const std::string state = text_of(upgrade, "state");
  if (state.empty() || state == "none") return;
  context.print_field("upgrade", context.terminal().state(state) + "  " +
                                     harmless(text_of(upgrade, "from")) + " -> " +
                                     harmless(text_of(upgrade, "to")));
}

}  // namespace

int status(Context& context) {
  const Answer answer = context.get("/api/v1/status");
  if (!answer.ok()) return context.fail(answer);
  if (context.print_json(answer)) return kOk;
  const object& body = answer.body;
  const object& node = object_of(body, "node");
  context.print_field("site", context.terminal().bold(harmless(text_of(body, "site"))));
  context.print_field(
      "node", short_digest(text_of(node, "id")) + "  " + harmless(text_of(node, "address")));
  context.print_field(
      "release", harmless(text_of(node, "version")) + "  " + short_digest(text_of(node, "digest")));
  context.print_field("up for",
                      duration_text(std::chrono::milliseconds(number_of(node, "uptime_s") * 1000)));
  print_role(context, body);
  context.print_field("epoch",
                      text_of(body, "epoch") + ", generation " + text_of(body, "generation"));
  context.print_field("revision", text_of(body, "committed_revision") + " committed, " +
                                      text_of(body, "revision") + " appended");
  context.print_field("sessions", text_of(body, "sessions"));
  context.print_field("agents", text_of(body, "agents"));
  context.print_field("feature level", text_of(body, "feature_level"));
  print_upgrade(context, object_of(body, "upgrade"));
  if (flag_of(node, "single_user")) {
    context.print_field("privileges", "not separated: one user runs everything");
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
    context.print_field(harmless(member.key()), harmless(text_of(answer.body, member.key())));
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
  const Answer alive = context.get("/healthz", "", Where::node);
  if (!alive.ok()) return context.fail(alive);
  const Answer ready = context.get("/readyz", "", Where::once);
  if (!ready.ok() && ready.status != 503) return context.fail(ready);
  if (context.globals().json) {
    object out;
    out["alive"] = true;
    out["ready"] = ready.ok();
    for (const char* key : {"why", "role", "primary"})
      if (const auto* value = ready.body.if_contains(key)) out[key] = *value;
    context.terminal().print_line(boost::json::serialize(out));
  } else {
    std::string line = ready.ok() ? "alive, ready" : "alive, not ready";
    const std::string role = harmless(text_of(ready.body, "role"));
    const std::string primary = harmless(text_of(ready.body, "primary"));
    if (!role.empty()) line += ": this node is " + role;
    if (!primary.empty()) line += ", the primary is " + primary;
    context.terminal().print_line(line);
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
