// The failover pair: status, syncing, roles, breaking, orphans.
#include <algorithm>
#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/core/exit_code.h"
#include "cli/core/failover_view.h"
#include "http/message.h"
#include "net/async.h"

namespace everspan::cli {
namespace {

using boost::json::object;

constexpr std::string_view kSite = "site";
constexpr int kSyncAskS =
    1;  // How long one answer of `sync` waits: so often it says how far it is.

std::optional<std::uint64_t> known(const object& from, std::string_view key) {
  const boost::json::value* value = from.if_contains(key);
  if (value == nullptr || value->is_null()) return std::nullopt;
  return number_of(from, key);
}

std::optional<std::int64_t> known_signed(const object& from, std::string_view key) {
  const boost::json::value* value = from.if_contains(key);
  if (value == nullptr) return std::nullopt;
  boost::system::error_code error;
  const auto number = value->to_number<std::int64_t>(error);
  if (error) return std::nullopt;
  return number;
}

PeerFacts peer_facts(const object& peer) {
  return {.connected = flag_of(peer, "connected"),
          .why_not = text_of(peer, "why_not"),
          .heard_ms_ago = known(peer, "last_heard_ms_ago"),
          .clock_ahead_ms = known_signed(peer, "clock_ahead_ms")};
}

Lag lag_of(const object& status) {
  const object& lag = object_of(status, "lag");
  return {.records = known(lag, "records"), .bytes = known(lag, "bytes"), .ms = known(lag, "ms")};
}

std::string bytes_or_unknown(const std::optional<std::uint64_t>& bytes) {
  return bytes ? bytes_text(*bytes) : "unknown";
}

bool peer_in_sync(const object& status) {
  const std::string peer = text_of(object_of(status, "peer"), "id");
  for (const object& store : list_of(status, "stores"))
    if (text_of(store, "node") == peer) return flag_of(store, "in_sync");
  return false;
}

void print_stores(const Context& context, const object& status) {
  const object& self = object_of(status, "node");
  const object& peer = object_of(status, "peer");
  std::vector<Row> rows;
  for (const object& store : list_of(status, "stores")) {
    const std::string id = text_of(store, "node");
    const bool here = id == text_of(self, "id");
    const auto durable = known(store, "durable");
    rows.push_back({short_id(id), text_of(here ? self : peer, "address"),
                    here ? text_of(status, "role") : text_of(peer, "role"),
                    durable ? std::to_string(*durable) : "unknown",
                    flag_of(store, "in_sync") ? "yes" : "no", here ? "this node" : ""});
  }
  if (rows.empty()) return;
  context.terminal().print_line("");
  context.print_table({{"NODE"},
                       {"ADDRESS", Align::left, true},
                       {"ROLE"},
                       {"DURABLE", Align::right},
                       {"ACKNOWLEDGES"},
                       {""}},
                      rows, "");
}

void print_history(const Context& context, const object& status) {
  std::vector<Row> rows;
  for (const object& change : list_of(status, "history"))
    rows.push_back({text_of(change, "at"), text_of(change, "role"), text_of(change, "epoch"),
                    text_of(change, "why")});
  if (rows.empty()) return;
  context.terminal().print_line("");
  context.print_table({{"AT"}, {"ROLE"}, {"EPOCH", Align::right}, {"WHY", Align::left, true}}, rows,
                      "");
}

void print_status(const Context& context, const object& status) {
  const Terminal& terminal = context.terminal();
  const object& self = object_of(status, "node");
  const object& peer = object_of(status, "peer");
  const std::string role = text_of(status, "role");
  const std::string why = text_of(status, "why");
  context.print_field("this node", short_id(text_of(self, "id")) + "  " +
                                       harmless(text_of(self, "address")) + "  " +
                                       terminal.bold(harmless(role)) +
                                       (why.empty() ? "" : "  (" + harmless(why) + ")"));
  context.print_field("history", "lineage " + short_id(text_of(status, "lineage")) + ", epoch " +
                                     text_of(status, "epoch") + ", revision " +
                                     text_of(status, "committed_revision") + " committed, " +
                                     text_of(status, "revision") + " appended");
  if (peer.empty()) {
    context.print_field("peer", "none: this node stands alone");
    return print_history(context, status);
  }
  context.print_field("peer", short_id(text_of(peer, "id")) + "  " +
                                  harmless(text_of(peer, "address")) + "  " +
                                  terminal.bold(harmless(text_of(peer, "role"))) + "  release " +
                                  harmless(text_of(peer, "release")));
  context.print_field("last check", peer_text(peer_facts(peer)));
  const std::string shipping = text_of(status, "shipping");
  const std::string not_taken = text_of(status, "shipping_why");
  context.print_field("state",
                      terminal.state(sync_word(true, peer_in_sync(status), role == "diverged")) +
                          ", shipping " + harmless(shipping) +
                          (not_taken.empty() ? "" : ": " + harmless(not_taken)));
  context.print_field("lag", lag_text(lag_of(status)));
  const std::string last = text_of(status, "last_in_sync");
  context.print_field("last in sync", last.empty() ? "never" : harmless(last));
  context.print_field("journal to go", bytes_or_unknown(known(status, "journal_missing_bytes")));
  context.print_field("files to go", bytes_or_unknown(known(status, "blobs_missing_bytes")));
  print_stores(context, status);
  print_history(context, status);
}

object become_body(bool primary, bool even_if_unreachable, const std::string& agreed) {
  object body;
  body["role"] = primary ? "primary" : "backup";
  body["even_if_unreachable"] = even_if_unreachable;
  if (!agreed.empty()) body["agreed"] = agreed;
  return body;
}

Answer ask_become(Context& context, object body) {
  return context.call("POST", "/api/v1/failover/become", std::move(body), kSite, Where::node);
}

int print_role(const Context& context, const Answer& answer) {
  if (context.print_json(answer)) return kOk;
  context.terminal().print_line(harmless(answer.node) + " is " +
                                context.terminal().bold(harmless(text_of(answer.body, "role"))) +
                                " now, epoch " + text_of(answer.body, "epoch"));
  return kOk;
}

// Says what may be lost, asks, and goes on with what was agreed to.
int become_alone(Context& context, bool primary) {
  const Answer preview = ask_become(context, become_body(primary, true, ""));
  if (!preview.ok()) return context.fail(preview);
  if (flag_of(preview.body, "done")) return print_role(context, preview);
  const std::string lost = harmless(text_of(preview.body, "may_be_lost"));
  const std::string word = primary ? "become-primary" : "become-backup";
  context.terminal().note(lost.empty() ? "Nothing that was acknowledged can be lost."
                                       : "What may be lost: " + lost);
  const auto sure = lost.empty() ? context.confirm("Make this node the " +
                                                   std::string(primary ? "primary" : "backup") +
                                                   " without the other?")
                                 : context.confirm_text(
                                       "This begins a new history. The other node must not "
                                       "serve any more: " +
                                           lost,
                                       word);
  if (!sure) return context.fail(sure.error());
  const Answer done =
      ask_become(context, become_body(primary, true, text_of(preview.body, "token")));
  if (!done.ok()) return context.fail(done);
  if (!flag_of(done.body, "done"))
    return context.fail({"conflict", "What may be lost has changed meanwhile",
                         "Nothing was changed", "Run the command again and read it anew"},
                        409);
  return print_role(context, done);
}

SyncProgress progress_of(const object& body) {
  SyncProgress out{.target = number_of(body, "target")};
  const object& status = object_of(body, "status");
  for (const object& store : list_of(status, "stores")) {
    const auto durable = known(store, "durable");
    if (!durable) {
      out.durable.reset();
      break;
    }
    out.durable = std::min(out.durable.value_or(*durable), *durable);
  }
  const auto journal = known(status, "journal_missing_bytes");
  const auto blobs = known(status, "blobs_missing_bytes");
  if (journal && blobs) out.rest_bytes = *journal + *blobs;
  return out;
}

}  // namespace

int failover_status(Context& context) {
  const Answer answer = context.get("/api/v1/failover");
  if (!answer.ok()) return context.fail(answer);
  if (!context.print_json(answer)) print_status(context, answer.body);
  return kOk;
}

int failover_sync(Context& context, std::chrono::milliseconds wait) {
  const Instant begin = net::now();
  const bool shows = context.terminal().out_is_terminal() && !context.globals().json;
  std::uint64_t target = 0;
  for (;;) {
    object body;
    if (target > 0) body["target"] = target;
    body["wait_s"] = kSyncAskS;
    const Answer answer =
        context.call("POST", "/api/v1/failover/sync", std::move(body), kSite, Where::node);
    if (shows) context.terminal().clear_changing_line();
    if (!answer.ok()) return context.fail(answer);
    target = number_of(answer.body, "target");
    if (flag_of(answer.body, "done")) {
      if (context.print_json(answer)) return kOk;
      context.terminal().print_line("In sync up to entry " + std::to_string(target) +
                                    ": every entry, the journal and the files are on both nodes");
      context.print_field("lag", lag_text(lag_of(object_of(answer.body, "status"))));
      return kOk;
    }
    const std::string missing = harmless(text_of(answer.body, "missing"));
    if (net::now() - begin >= wait) {
      context.print_json(answer);
      return context.fail({"not_in_sync", "The nodes are not in sync yet: " + missing,
                           "The copying goes on", "everspan failover status"});
    }
    if (shows)
      context.terminal().show_changing_line(sync_line(progress_of(answer.body)) +
                                            (missing.empty() ? "" : "  (" + missing + ")"));
  }
}

int failover_become(Context& context, bool primary, bool even_if_unreachable) {
  if (even_if_unreachable) return become_alone(context, primary);
  const auto sure = context.confirm(
      primary ? "Hand the writes over to this node now? They wait for a moment; sessions go on."
              : "Hand the writes over to the other node now? They wait for a moment; sessions go "
                "on.");
  if (!sure) return context.fail(sure.error());
  const Answer answer = ask_become(context, become_body(primary, false, ""));
  if (!answer.ok()) return context.fail(answer);
  return print_role(context, answer);
}

int failover_break(Context& context, bool forget) {
  const auto sure = context.confirm(
      forget ? "End the relationship and forget the other node? Establishing it again needs a new "
               "inter-appliance key."
             : "End the relationship? The site has one copy then; establishing it again needs no "
               "key.");
  if (!sure) return context.fail(sure.error());
  object body;
  body["forget"] = forget;
  const Answer answer =
      context.call("POST", "/api/v1/failover/break", std::move(body), kSite, Where::node);
  if (!answer.ok()) return context.fail(answer);
  if (!context.print_json(answer)) context.terminal().note("The relationship is over");
  return kOk;
}

int failover_orphan_list(Context& context) {
  const Answer answer = context.get("/api/v1/failover/orphans", kSite, Where::node);
  if (!answer.ok()) return context.fail(answer);
  if (context.print_json(answer)) return kOk;
  std::vector<Row> rows;
  for (const object& each : list_of(answer.body, "orphans"))
    rows.push_back({text_of(each, "name"), text_of(each, "at"), text_of(each, "from"),
                    text_of(each, "through"), bytes_text(number_of(each, "bytes"))});
  context.print_table({{"NAME", Align::left, true},
                       {"AT"},
                       {"FROM", Align::right},
                       {"THROUGH", Align::right},
                       {"SIZE", Align::right}},
                      rows, "This node has cut nothing off its log");
  return kOk;
}

int failover_orphan_show(Context& context, const std::string& name, std::uint64_t after,
                         int limit) {
  const Answer answer =
      context.get("/api/v1/failover/orphans/" + http::percent_encode(name) +
                      "?after=" + std::to_string(after) + "&limit=" + std::to_string(limit),
                  kSite, Where::node);
  if (!answer.ok()) return context.fail(answer);
  if (context.print_json(answer)) return kOk;
  std::vector<Row> rows;
  for (const object& entry : list_of(answer.body, "entries"))
    for (const object& change : list_of(entry, "changes"))
      rows.push_back({text_of(entry, "revision"), text_of(entry, "epoch"), text_of(entry, "at"),
                      text_of(change, "verb"), text_of(change, "kind"), text_of(change, "key"),
                      text_of(change, "bytes")});
  context.print_table({{"REVISION", Align::right},
                       {"EPOCH", Align::right},
                       {"AT"},
                       {"VERB"},
                       {"KIND"},
                       {"KEY", Align::left, true},
                       {"BYTES", Align::right}},
                      rows, "No entries there");
  if (flag_of(answer.body, "more"))
    context.terminal().note("There is more: --after " + (rows.empty() ? "0" : rows.back().front()));
  return kOk;
}

}  // namespace everspan::cli
