// PairService: what the role core decides, done; what people ask of it.
#include <algorithm>

#include "common/failpoint.h"
#include "common/log.h"
#include "node/pair_codec.h"
#include "node/pair_record_file.h"
#include "node/pair_service.h"
#include "proto/node_link.pb.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

constexpr auto kAskWithin = 30s;
constexpr std::size_t kHistoryMost = 20;

}  // namespace

void PairService::feed(const Roles::Event& event) {
  if (!active_) return;
  for (Roles::Action& action : roles_.handle(event)) actions_.push_back(std::move(action));
  actions_wakeup_.notify();
  tick_wakeup_.notify();
}

// One after the other: what stands behind a Save waits until that is on the disk.
net::Task<> PairService::perform_loop() {
  while (active_) {
    if (actions_.empty()) {
      const bool notified = co_await actions_wakeup_.wait_until(Instant::max());
      if (!notified) co_return;
      continue;
    }
    Roles::Action action = std::move(actions_.front());
    actions_.pop_front();
    co_await perform(std::move(action));
  }
}

net::Task<> PairService::tick_loop() {
  while (active_) {
    const bool notified = co_await tick_wakeup_.wait_until(roles_.wake_at());
    const bool cancelled = co_await net::is_cancelled();
    if (cancelled) co_return;
    if (!notified) feed(Roles::Tick{net::now()});
  }
}

net::Task<> PairService::save(Roles::Save action) {
  const std::string folder = parts_.paths.node();
  const failover::RoleRecord record = action.record;
  failpoint("pair.before_save");
  const std::function<Result<void>()> work = [folder, record] {
    return write_role_record(folder, record);
  };
  const Result<void> saved = co_await parts_.pool.run(work);
  if (!saved) {
    // Nothing that needs it happens: the role stays as it was on the disk, and base sees why.
    log_error("pair.register_not_saved", {{"why", saved.error().text()}});
    parts_.host.cannot_go_on("The register cannot be stored: " + saved.error().text());
    co_return;
  }
  failpoint("pair.after_save");
  record_ = record;
  feed(Roles::Saved{action.number});
}

net::Task<> PairService::perform(Roles::Action action) {
  if (auto* saving = std::get_if<Roles::Save>(&action)) {
    co_await save(std::move(*saving));
  } else if (const auto* beginning = std::get_if<Roles::BeginLineage>(&action)) {
    const Result<void> begun = co_await begin_lineage(beginning->lineage, beginning->epoch);
    if (!begun) parts_.host.cannot_go_on("A new history cannot begin: " + begun.error().text());
  } else {
    perform_now(action);
  }
}

void PairService::perform_now(const Roles::Action& action) {
  pb::NodeMessage message;
  if (const auto* grant = std::get_if<Roles::Grant>(&action)) {
    tail_counts_ = grant->tail_counts;
    writes_.granted(grant->epoch.value, grant->head_needed.value);
    writes_.have_head(head_.revision.value);
  } else if (const auto* asking = std::get_if<Roles::AskRelease>(&action)) {
    writes_.ask_release(asking->epoch.value);
  } else if (std::get_if<Roles::AbortRelease>(&action) != nullptr) {
    writes_.abort_release();
  } else if (const auto* confirmers = std::get_if<Roles::SetConfirmers>(&action)) {
    const auto& nodes = confirmers->in_sync;
    peer_confirms_ = std::ranges::find(nodes, record_.peer) != nodes.end();
    alone_ = !peer_confirms_;
    confirm_what_both_have();
    auto set = [this, number = confirmers->number] { feed(Roles::ConfirmersSet{number}); };
    net::asio::post(parts_.control, std::move(set));
  } else if (const auto* serves = std::get_if<Roles::PeerServes>(&action)) {
    writes_.peer_serves(serves->epoch.value);
  } else if (std::get_if<Roles::SendBroken>(&action) != nullptr) {
    message.mutable_broken()->set_who(parts_.node.hex());
  } else if (const auto* ask = std::get_if<Roles::SendAsk>(&action)) {
    message.mutable_role_ask()->set_become_primary(true);
    message.mutable_role_ask()->set_token(ask->token);
  } else if (const auto* reply = std::get_if<Roles::SendAskReply>(&action)) {
    message.mutable_role_ask_reply()->set_token(reply->token);
    if (reply->refused) {
      message.mutable_role_ask_reply()->set_code(reply->refused->code);
      message.mutable_role_ask_reply()->set_message(reply->refused->message);
      message.mutable_role_ask_reply()->set_next(reply->refused->next);
    }
  } else if (const auto* prepare = std::get_if<Roles::SendPrepare>(&action)) {
    message.mutable_prepare()->set_epoch(prepare->what.epoch.value);
    put_point(prepare->what.head, *message.mutable_prepare()->mutable_head());
  } else if (const auto* prepared = std::get_if<Roles::SendPrepared>(&action)) {
    message.mutable_prepared()->set_epoch(prepared->epoch.value);
  } else if (const auto* refused = std::get_if<Roles::SendRefused>(&action)) {
    message.mutable_role_refused()->set_epoch(refused->epoch.value);
    message.mutable_role_refused()->set_code(refused->code);
    message.mutable_role_refused()->set_message(refused->message);
  } else if (const auto* abort = std::get_if<Roles::SendAbort>(&action)) {
    message.mutable_role_abort()->set_epoch(abort->epoch.value);
  } else if (const auto* told = std::get_if<Roles::SendRegister>(&action)) {
    pb::NodeRegister* reg = nullptr;
    if (told->word == Roles::Word::released) reg = message.mutable_released()->mutable_reg();
    if (told->word == Roles::Word::serving) reg = message.mutable_serving()->mutable_reg();
    if (told->word == Roles::Word::changed) reg = message.mutable_reg()->mutable_reg();
    put_register(told->reg, *reg);
  } else if (const auto* changed = std::get_if<Roles::RoleChanged>(&action)) {
    change_role(*changed);
  } else if (const auto* ship = std::get_if<Roles::Ship>(&action)) {
    const bool led = leads_;
    leads_ = ship->leader;
    follows_ = ship->follower;
    if (!leads_) ship_ = Ship();
    // What the other said when it greeted is old by now.
    if (leads_ && !led && greeted_) greet(true);
  } else if (std::get_if<Roles::MoveEnds>(&action) != nullptr) {
    parts_.host.move_ends_to_peer();
  } else if (const auto* answer = std::get_if<Roles::Answer>(&action)) {
    if (const auto found = answers_.find(answer->token); found != answers_.end())
      found->second = answer->refused;
    moved_.notify();
  }
  if (message.what_case() != pb::NodeMessage::WHAT_NOT_SET) send(message);
}

void PairService::change_role(const Roles::RoleChanged& action) {
  const failover::Role before = role_;
  role_ = action.role;
  role_why_ = action.why;
  log_info("pair.role", {{"role", std::string(failover::word(role_))}, {"why", action.why}});
  if (before == role_) return;
  history_.push_back(
      {net::wall_now(), std::string(failover::word(role_)), record_.reg.epoch, action.why});
  if (history_.size() > kHistoryMost) history_.pop_front();
  journal("node", "failover.role",
          "{\"role\":\"" + std::string(failover::word(role_)) +
              "\",\"epoch\":" + std::to_string(record_.reg.epoch.value) + "}");
  // The other serves: what waits here for its acknowledgement is its to answer.
  if (role_ == failover::Role::backup) {
    parts_.log.refuse_unconfirmed({"not_primary", "Another node serves now",
                                   "The write may have been done",
                                   "Try again with the same Idempotency-Key: it runs once"});
  }
  parts_.host.role_changed(role_, role_why_);
  moved_.notify();
}

net::Task<Result<void>> PairService::ask(Roles::Event event, std::uint64_t token) {
  answers_[token] = std::nullopt;
  feed(event);
  const Instant deadline = net::now() + kAskWithin;
  while (!answers_[token]) {
    const bool notified = co_await moved_.wait_until(deadline);
    if (!notified) break;
  }
  const std::optional<std::optional<Error>> answer = answers_[token];
  answers_.erase(token);
  if (!answer)
    co_return fail("timeout", "The other node did not agree in time", "The roles may still change",
                   "Look at `failover status`");
  if (*answer) co_return Result<void>(std::unexpected(**answer));
  co_return Result<void>();
}

net::Task<Result<void>> PairService::become(bool primary, std::string who) {
  if (!active_) co_return fail("busy", "Another process of this node takes over", "", "Try again");
  const std::uint64_t token = next_id_++;
  const Roles::Event asking = Roles::Ask{token, primary, net::now()};
  Result<void> done = co_await ask(asking, token);
  journal(std::move(who), primary ? "failover.become_primary" : "failover.become_backup",
          done ? "{}" : "{\"refused\":\"" + done.error().code + "\"}");
  co_return done;
}

net::Task<Result<void>> PairService::force(bool primary, std::string who) {
  if (!active_) co_return fail("busy", "Another process of this node takes over", "", "Try again");
  const Result<store::LogMeta> meta = parts_.reader.meta();
  if (!meta) co_return fail(meta);
  const std::uint64_t token = next_id_++;
  const Roles::Event asking =
      Roles::AskForce{token, primary, random_id<LineageId>(), meta->epoch, net::now()};
  Result<void> done = co_await ask(asking, token);
  journal(std::move(who), primary ? "failover.forced_primary" : "failover.forced_backup",
          done ? "{}" : "{\"refused\":\"" + done.error().code + "\"}");
  co_return done;
}

net::Task<Result<void>> PairService::established(PeerEntry peer, failover::Register reg,
                                                 std::string who) {
  const NodeId id = peer.node;
  const Result<void> stored = files_.put_peer(std::move(peer));
  if (!stored) co_return fail(stored);
  replicate();
  // A link from before is one of no relationship, which the roles took no notice of.
  if (link_ != nullptr) drop_link("a relationship is established: both greet anew");
  head_ = parts_.log.last();
  const std::uint64_t token = next_id_++;
  Roles::Established event{token, id, std::move(reg), false, head_, net::now()};
  const Result<void> done = co_await ask(std::move(event), token);
  if (!done) co_return done;
  dial_wakeup_.notify();
  journal(std::move(who), "failover.established", "{\"peer\":\"" + id.hex() + "\"}");
  co_return Result<void>();
}

net::Task<Result<void>> PairService::broken(bool forget, std::string who) {
  if (record_.peer.is_zero())
    co_return fail("no_peer", "This node is in no failover relationship", "Nothing was changed");
  const NodeId peer = record_.peer;
  const std::uint64_t token = next_id_++;
  Roles::Broken event{token, random_id<LineageId>(), net::now()};
  const Result<void> done = co_await ask(std::move(event), token);
  if (!done) co_return done;
  if (link_ != nullptr) drop_link("the relationship was broken");
  if (forget) {
    const Result<void> forgotten = files_.forget_peer(peer);
    if (!forgotten) co_return fail(forgotten);
  }
  journal(std::move(who), "failover.broken", "{\"peer\":\"" + peer.hex() + "\"}");
  co_return Result<void>();
}

}  // namespace everspan::node
