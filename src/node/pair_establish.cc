// FailoverNode: the first meeting of two nodes. The one that will be the primary asks; both check
// in both directions; only then is anything stored, first at the backup.
#include <algorithm>

#include "common/log.h"
#include "common/version.h"
#include "features/features.h"
#include "node/failover_node.h"
#include "node/pair_codec.h"
#include "proto/node_link.pb.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

constexpr auto kMeetWithin = 10s;
constexpr auto kAnswerWithin = 20s;
constexpr auto kMeetingMost = 60s;
constexpr auto kClocksApartMost = 5min;

using Check = api::EstablishReport::Check;

Check good(std::string name, std::string detail) {
  return {std::move(name), true, false, std::move(detail)};
}
Check bad(std::string name, std::string detail) {
  return {std::move(name), false, false, std::move(detail)};
}

std::string short_id(const NodeId& node) {
  return node.hex().substr(0, 8);
}

// What both must agree on, seen from the one that would be the primary. `level`: the site's.
void compare(const pb::NodeGreeting& primary, const pb::NodeGreeting& backup, std::uint32_t level,
             std::vector<Check>& checks) {
  if (backup.level_max() < level)
    checks.push_back(bad("release", "this site is at feature level " + std::to_string(level) +
                                        ", and release " + printable(backup.release(), 40) +
                                        " of the other node knows " +
                                        std::to_string(backup.level_max()) +
                                        " at most: install this node's release there first"));
  const bool levels =
      backup.level_min() <= primary.level_max() && primary.level_min() <= backup.level_max();
  checks.push_back(levels
                       ? good("release", "this node " + primary.release() + ", the other " +
                                             printable(backup.release(), 40))
                       : bad("release", "the releases " + primary.release() + " and " +
                                            printable(backup.release(), 40) +
                                            " do not live together: install one in between first"));
  const auto apart = std::chrono::milliseconds(std::abs(primary.wall_ms() - backup.wall_ms()));
  const std::string seconds = std::to_string(apart.count() / 1000) + " s apart";
  checks.push_back(apart <= kClocksApartMost ? good("clock", seconds)
                                             : bad("clock", seconds + ", more than 5 minutes"));
  checks.push_back(primary.platform() == backup.platform()
                       ? good("platform", primary.platform())
                       : bad("platform", "the other runs on " + printable(backup.platform(), 40)));
  if (backup.head().revision() == 0) {
    checks.push_back(good("history", "the other node is empty"));
  } else if (backup.site_id() == primary.site_id()) {
    checks.push_back(good("history", "of this site, up to revision " +
                                         std::to_string(backup.head().revision()) +
                                         "; compared entry by entry when they are linked"));
  } else {
    // Also with `overwrite_backup`: this release does not replace a site.
    checks.push_back(bad("history", "the other node has a site of its own, with " +
                                        std::to_string(backup.head().revision()) +
                                        " entries, and this release does not overwrite it: start "
                                        "it with an empty folder and --join"));
  }
}

// The first check that says no, in the words of the API.
Error why_not(const std::vector<Check>& checks) {
  const auto no = std::ranges::find(checks, false, &Check::ok);
  std::string code = no->name;
  if (code == "reverse" || code == "reach") code = "unreachable";
  if (code == "release") code = "wire_range";
  if (code == "history" || code == "relationship") code = "has_site";
  return {std::move(code), no->detail, "Nothing was changed", "Mend it, then establish again"};
}

void read_checks(const pb::EstablishAnswer& answer, std::vector<Check>& out) {
  for (const pb::EstablishCheck& check : answer.checks())
    out.push_back(
        {printable(check.name(), 40), check.ok(), check.warning(), printable(check.detail(), 300)});
}

}  // namespace

// One establish link, either side of it: calls and their answers.
class FailoverNode::Meeting : public NodeLink::Events {
 public:
  Meeting(net::Executor executor, ProvedLink link)
      : node(link.node),
        public_key(link.public_key),
        by_key(link.by_key),
        key_sha256(link.key_sha256),
        answered_(executor),
        link_(executor, std::move(link), *this) {}

  using Answer = std::function<void(std::uint64_t id, std::string what, std::string body)>;
  void answer_with(Answer answer) { answer_ = std::move(answer); }
  [[nodiscard]] net::Task<> run() { return link_.run(); }
  void close() { link_.close(); }

  [[nodiscard]] net::Task<Result<std::string>> call(std::string what, std::string body,
                                                    Instant deadline) {
    reply_.reset();
    pb::NodeMessage message;
    message.mutable_call()->set_id(++calls_);
    message.mutable_call()->set_what(std::move(what));
    message.mutable_call()->set_body(std::move(body));
    link_.send(message);
    while (!reply_) {
      const bool notified = co_await answered_.wait_until(deadline);
      if (!notified) co_return fail("timeout", "The other node does not answer");
    }
    co_return *reply_;
  }
  void reply(std::uint64_t id, const Result<std::string>& answer) {
    pb::NodeMessage message;
    message.mutable_call_reply()->set_id(id);
    if (answer) {
      message.mutable_call_reply()->set_body(*answer);
    } else {
      message.mutable_call_reply()->set_code(answer.error().code);
      message.mutable_call_reply()->set_message(answer.error().message);
      message.mutable_call_reply()->set_next(answer.error().next);
    }
    link_.send(message);
  }

  void on_message(NodeLink&, pb::NodeMessage& message) override {
    if (message.has_call() && answer_)
      return answer_(message.call().id(), message.call().what(), message.call().body());
    if (!message.has_call_reply() || message.call_reply().id() != calls_) return;
    const pb::NodeCallReply& reply = message.call_reply();
    if (reply.code().empty())
      reply_ = reply.body();
    else
      reply_ = fail(printable(reply.code(), 40), printable(reply.message(), 300), "",
                    printable(reply.next(), 300));
    answered_.notify();
  }
  void on_closed(NodeLink&, const Error& why) override {
    if (!reply_) reply_ = std::unexpected(why);
    answered_.notify();
  }

  const NodeId node;
  const std::string public_key;
  const bool by_key;
  const std::string key_sha256;

 private:
  Answer answer_;
  std::optional<Result<std::string>> reply_;
  std::uint64_t calls_ = 0;
  net::Wakeup answered_;
  NodeLink link_;
};

namespace {

// Who was let in once does not stay for ever.
template <class Meeting>
net::Task<> end_in_time(std::weak_ptr<Meeting> meeting) {
  co_await net::sleep_for(kMeetingMost);
  if (const auto alive = meeting.lock()) alive->close();
}

}  // namespace

// ---- the side that asks ----

net::Task<Result<api::EstablishReport>> FailoverNode::establish_here(api::EstablishRequest request,
                                                                     std::string who) {
  if (busy_)
    co_return fail("busy", "A failover relationship is being established already",
                   "Nothing was changed", "Wait for it");
  busy_ = true;
  Result<api::EstablishReport> report = co_await meet(std::move(request), std::move(who));
  busy_ = false;
  co_return report;
}

net::Task<Result<api::EstablishReport>> FailoverNode::meet(api::EstablishRequest request,
                                                           std::string who) {
  PairService& pair = parts_.pair;
  if (!pair.active() || pair.role() != failover::Role::alone)
    co_return fail(pair.peer() ? "paired" : "not_primary",
                   pair.peer() ? "This node is in a failover relationship already"
                               : "This node does not serve a site",
                   "Nothing was changed",
                   pair.peer() ? "See `failover status`; `failover break` ends it"
                               : "Ask the node that has the site");
  std::string key;
  if (!request.key.empty()) {
    Result<std::string> parsed = parse_inter_appliance_key(request.key);
    if (!parsed) co_return fail(parsed);
    key = std::move(*parsed);
  }
  api::EstablishReport report;
  Result<ProvedLink> link = co_await dial_stranger(pair.files().identity(), request.backup, key,
                                                   pair.files().peers(), net::now() + kMeetWithin);
  wipe(key);
  wipe(request.key);
  if (!link) {
    const std::string& code = link.error().code;
    const bool about_key = code == "wrong_key" || code == "no_key" || code == "unknown_node" ||
                           code == "bad_proof" || code == "bad_key_file";
    report.checks.push_back(about_key ? bad("key", link.error().text())
                                      : bad("reach", link.error().text()));
    report.would = "Nothing was changed.";
    report.refused = link.error();
    report.refused->code = !about_key         ? "unreachable"
                           : code == "no_key" ? "key_spent"
                                              : "wrong_key";
    report.refused->kept = "Nothing was changed";
    co_return report;
  }
  report.backup = link->node;
  report.checks.push_back(
      good("reach", request.backup.text() + " is node " + short_id(link->node)));
  report.checks.push_back(good("key", link->by_key ? "both hold the same inter-appliance key"
                                                   : "both know each other from before"));
  if (request.backup.host == request.reverse.host)
    report.checks.push_back({"address", true, true,
                             "both nodes at one address (" + request.backup.host +
                                 "): an address of its own for each is better"});
  const auto meeting = std::make_shared<Meeting>(parts_.control, std::move(*link));
  tasks_.spawn("meeting", serve_meeting(meeting));

  pb::EstablishAsk ask;
  const Result<void> greeted = pair.fill_greeting(*ask.mutable_greeting());
  if (!greeted) {
    meeting->close();
    co_return fail(greeted);
  }
  ask.set_backup(request.backup.text());
  ask.set_reverse(request.reverse.text());
  ask.set_overwrite_backup(request.overwrite_backup);
  ask.set_who(who);
  Result<std::string> checked = co_await meeting->call("establish.check", ask.SerializeAsString(),
                                                       net::now() + kAnswerWithin);
  pb::EstablishAnswer answer;
  if (checked && !answer.ParseFromString(*checked))
    checked = fail("bad_message", "The other node's answer cannot be read");
  if (!checked) {
    meeting->close();
    co_return fail(checked);
  }
  compare(ask.greeting(), answer.greeting(), pair.feature_level(), report.checks);
  read_checks(answer, report.checks);
  const bool fine = std::ranges::all_of(report.checks, &Check::ok);
  report.would = "Node " + short_id(meeting->node) + " becomes the backup of this one and copies " +
                 "everything from it; sessions and writes go on.";
  if (!fine || request.dry_run) {
    if (!fine) {
      report.would = "Nothing was changed.";
      report.refused = why_not(report.checks);
    }
    meeting->close();
    co_return report;
  }
  // This node knows the other before that one acts on it: a second try needs no key.
  PeerEntry peer{meeting->node, meeting->public_key, request.backup, net::wall_now()};
  const Result<void> known = pair.files().put_peer(peer);
  if (!known) {
    meeting->close();
    co_return fail(known);
  }
  const Result<std::string> committed = co_await meeting->call(
      "establish.commit", ask.SerializeAsString(), net::now() + kAnswerWithin);
  meeting->close();
  if (!committed) co_return fail(committed);
  failover::Register reg = pair.own_register();
  reg.in_sync = {parts_.node};
  const Result<void> established = co_await pair.established(std::move(peer), reg, who);
  if (!established) co_return fail(established);
  const Result<void> named = co_await parts_.name_in_certificate(request.backup.host);
  if (!named)
    report.checks.push_back({"certificate", true, true,
                             "the site's certificate does not name " + request.backup.host + ": " +
                                 named.error().text()});
  const Result<void> given = co_await parts_.give_appliance(meeting->node);
  if (!given)
    report.checks.push_back(
        {"accounts", true, true,
         "the backup's appliance has no accounts yet: " + given.error().text()});
  report.established = true;
  report.would = "Node " + short_id(meeting->node) + " is the backup of this one now.";
  co_return report;
}

// ---- the side that is asked ----

void FailoverNode::accepted(ProvedLink link) {
  const auto meeting = std::make_shared<Meeting>(parts_.control, std::move(link));
  auto answer = [this, weak = std::weak_ptr<Meeting>(meeting)](std::uint64_t id, std::string what,
                                                               std::string body) {
    if (const auto alive = weak.lock())
      tasks_.spawn("meeting-answer", answer_meeting(alive, id, std::move(what), std::move(body)));
  };
  meeting->answer_with(std::move(answer));
  tasks_.spawn("meeting", serve_meeting(meeting));
  tasks_.spawn("meeting-limit", end_in_time(std::weak_ptr<Meeting>(meeting)));
}

net::Task<> FailoverNode::serve_meeting(std::shared_ptr<Meeting> meeting) {
  co_await meeting->run();
}

net::Task<> FailoverNode::answer_meeting(std::shared_ptr<Meeting> meeting, std::uint64_t id,
                                         std::string what, std::string body) {
  pb::EstablishAsk ask;
  if (!ask.ParseFromString(body))
    co_return meeting->reply(id, fail("bad_message", "The question cannot be read"));
  if (what == "establish.check") {
    const Result<pb::EstablishAnswer> answer = co_await check_as_backup(*meeting, ask);
    if (!answer) co_return meeting->reply(id, fail(answer));
    co_return meeting->reply(id, answer->SerializeAsString());
  }
  if (what == "establish.commit") {
    const Result<void> done = co_await commit_as_backup(*meeting, ask);
    if (!done) co_return meeting->reply(id, fail(done));
    co_return meeting->reply(id, std::string("done"));
  }
  meeting->reply(id, fail("unknown_call", "This release does not know what was asked"));
}

net::Task<Result<pb::EstablishAnswer>> FailoverNode::check_as_backup(const Meeting& meeting,
                                                                     const pb::EstablishAsk& ask) {
  const NodeId primary = meeting.node;
  pb::EstablishAnswer answer;
  const Result<void> greeted = parts_.pair.fill_greeting(*answer.mutable_greeting());
  if (!greeted) co_return fail(greeted);
  const auto add = [&answer](const Check& check) {
    pb::EstablishCheck& out = *answer.add_checks();
    out.set_name(check.name);
    out.set_ok(check.ok);
    out.set_warning(check.warning);
    out.set_detail(check.detail);
  };
  const std::optional<NodeId> paired = parts_.pair.peer();
  if (paired && *paired != primary)
    add(bad("relationship", "that node is paired with node " + short_id(*paired)));
  else if (!paired && parts_.pair.active() && parts_.pair.serves())
    add(bad("relationship", "that node serves a site itself"));
  const Result<net::Address> reverse = net::Address::parse(ask.reverse());
  if (!reverse) {
    add(bad("reverse", "the way back is no HOST:PORT"));
    co_return answer;
  }
  const Result<NodeId> there = co_await node_at(*reverse, net::now() + kMeetWithin);
  if (!there)
    add(bad("reverse", "that node cannot reach " + reverse->text() + ": " + there.error().text()));
  else if (*there != primary)
    add(bad("reverse", reverse->text() + " is another node, " + short_id(*there)));
  else
    add(good("reverse", reverse->text() + " is reached from there"));
  co_return answer;
}

net::Task<Result<void>> FailoverNode::commit_as_backup(const Meeting& meeting,
                                                       const pb::EstablishAsk& ask) {
  const NodeId primary = meeting.node;
  const std::string public_key = meeting.public_key;
  const Result<pb::EstablishAnswer> again = co_await check_as_backup(meeting, ask);
  if (!again) co_return fail(again);
  for (const pb::EstablishCheck& check : again->checks())
    if (!check.ok()) co_return fail("checks_failed", check.detail(), "Nothing was changed", "");
  const Result<net::Address> reverse = net::Address::parse(ask.reverse());
  if (!reverse) co_return fail(reverse);
  const Result<failover::Register> reg = read_register(ask.greeting().reg());
  if (!reg) co_return fail(reg);
  if (reg->holder != primary)
    co_return fail("not_primary", "The node that asks does not hold the site");
  failover::Register stored = *reg;
  stored.in_sync = {primary};
  // Spent before it opens anything: it lets nobody in a second time, also when what follows fails,
  // and a meeting that outlived its key gets nothing.
  if (meeting.by_key) {
    const Result<void> spent = parts_.pair.files().spend_inter_appliance_key(meeting.key_sha256);
    if (!spent) co_return spent;
  }
  PeerEntry peer{primary, public_key, *reverse, net::wall_now()};
  std::string who = printable(ask.who(), 80);
  const Result<void> done =
      co_await parts_.pair.established(std::move(peer), stored, std::move(who));
  co_return done;
}

}  // namespace everspan::node
