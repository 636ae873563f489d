// PairService: the links to the other node, and what comes over the control link.
#include <algorithm>

#include "common/log.h"
#include "common/version.h"
#include "features/features.h"
#include "node/pair_codec.h"
#include "node/pair_service.h"
#include "proto/node_link.pb.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

constexpr auto kDialEvery = 300ms;
constexpr auto kDialWithin = 5s;
constexpr auto kShipAgain = 1s;  // What made the follower refuse may have been mended.
// Both dial; the one with the higher id waits for the other to come first, so that they do not
// replace each other's links for ever.
constexpr auto kOtherDialsFirst = 2s;

}  // namespace

struct PairService::Call {
  explicit Call(net::Executor executor) : wakeup(executor) {}
  net::Wakeup wakeup;
  std::optional<Result<std::string>> reply;
};

net::Task<> PairService::dial_loop() {
  Instant without_since = net::now();
  while (active_) {
    const PeerEntry* known = record_.peer.is_zero() ? nullptr : files_.peer(record_.peer);
    if (known != nullptr && link_ == nullptr) {
      const bool first = parts_.node < record_.peer || took_over_;
      if (first || net::now() >= without_since + kOtherDialsFirst) {
        const PeerEntry peer = *known;
        co_await dial(peer);
      }
    } else {
      without_since = net::now();
    }
    if (!active_) co_return;
    if (ship_.state() == Ship::State::stopped && net::now() >= ship_again_at_) {
      ship_again_at_ = net::now() + kShipAgain;
      feed_ship(Ship::TryAgain{});
    }
    co_await dial_wakeup_.wait_until(net::now() + kDialEvery);
    const bool cancelled = co_await net::is_cancelled();
    if (cancelled) co_return;
  }
}

net::Task<> PairService::dial(PeerEntry peer) {
  Result<ProvedLink> link =
      co_await dial_node(files_.identity(), peer, LinkPurpose::control, net::now() + kDialWithin);
  if (!link) {
    if (dial_failed_ != link.error().text())
      log_warning("pair.dial_failed",
                  {{"address", peer.address.text()}, {"why", link.error().text()}});
    dial_failed_ = link.error().text();
    co_return;
  }
  dial_failed_.clear();
  use_link(std::move(*link));
}

void PairService::accepted(ProvedLink link) {
  if (!active_ || link.node != record_.peer) {
    log_warning("pair.link_refused", {{"node", link.node.hex()}});
    return link.transport->close();
  }
  use_link(std::move(link));
}

// The newest link holds: the other side says by it that it gave up the older one.
void PairService::use_link(ProvedLink link) {
  if (link_ != nullptr) drop_link("replaced by a newer one");
  ++link_number_;
  link_ = std::make_shared<NodeLink>(parts_.control, std::move(link), *this);
  tasks_.spawn("pair-link", keep_link(link_));
  greet(false);
}

net::Task<> PairService::keep_link(std::shared_ptr<NodeLink> link) {
  co_await link->run();
}

void PairService::drop_link(const std::string& why) {
  log_info("pair.link_lost", {{"why", why}});
  link_->close();
  link_.reset();
  greeted_ = false;
  ++link_number_;
  for (auto& [id, call] : calls_) {
    if (!call->reply)
      call->reply = fail("unreachable", "The link to the other node was lost before it answered",
                         "The outcome is unknown", "Try again");
    call->wakeup.notify();
  }
  writes_.peer_lost();
  feed_ship(Ship::Disconnected{});
  feed(Roles::LinkDown{net::now()});
  parts_.host.peer_changed();
  moved_.notify();
  dial_wakeup_.notify();
}

void PairService::on_closed(NodeLink& link, const Error& why) {
  if (link_.get() != &link) return;
  drop_link(why.text());
}

void PairService::send(const pb::NodeMessage& message) {
  if (link_ != nullptr) link_->send(message);
}

void PairService::greet(bool ask) {
  pb::NodeMessage message;
  message.mutable_greeting()->set_ask(ask);
  const Result<void> filled = fill_greeting(*message.mutable_greeting());
  if (!filled) {
    log_error("pair.log_unreadable", {{"why", filled.error().text()}});
    return drop_link("this node's log cannot be read");
  }
  send(message);
}

// Of the last entry; zero: there is none.
Result<LineageId> PairService::last_lineage(const store::LogMeta& meta) const {
  if (meta.head.revision == meta.base.revision)
    return meta.head.revision.value == 0 ? LineageId{} : meta.lineage;
  const Result<store::LogReader::Appended> last =
      parts_.reader.appended(Revision{meta.head.revision.value - 1}, 1);
  if (!last) return fail(last);
  if (last->entries.empty()) return meta.lineage;
  const Result<store::LogEntry> entry = store::decode_entry(last->entries.front().entry);
  if (!entry) return fail(entry);
  return entry->lineage;
}

Result<void> PairService::fill_greeting(pb::NodeGreeting& out) const {
  const Result<store::LogMeta> meta = parts_.reader.meta();
  if (!meta) return fail(meta);
  out.set_release(std::string(program_version()));
  if (const std::optional<SiteId> site = parts_.host.site_id()) out.set_site_id(site->raw());
  put_register(record_.reg, *out.mutable_reg());
  out.set_yields(record_.yields);
  const Result<LineageId> lineage = last_lineage(*meta);
  if (!lineage) return fail(lineage);
  out.set_log_lineage(lineage->raw());
  put_point(meta->base, *out.mutable_base());
  put_point(meta->head, *out.mutable_head());
  out.set_committed(meta->committed.value);
  out.set_log_epoch(meta->epoch.value);
  out.set_wall_ms(net::wall_now().unix_ms);
  out.set_level_min(features::kLevelFirst.value);
  out.set_level_max(features::kLevelKnown.value);
  out.set_platform(parts_.platform);
  return {};
}

void PairService::greeted(const pb::NodeGreeting& greeting) {
  const Result<failover::Register> reg = read_register(greeting.reg());
  if (!reg) return drop_link("its greeting cannot be read: " + reg.error().message);
  greeting_ = std::make_unique<pb::NodeGreeting>(greeting);
  greeted_ = true;
  if (greeting.ask()) greet(false);
  last_heard_ = net::wall_now();
  clock_ahead_ms_ = greeting.wall_ms() - last_heard_->unix_ms;
  log_info("pair.linked", {{"release", printable(greeting.release(), 40)}});
  feed(Roles::LinkUp{*reg, net::now()});
  feed(Roles::PeerLog{Epoch{greeting.log_epoch()}});
  writes_.peer_connected(*this);
  ship_with_peer();
  parts_.host.peer_changed();
  moved_.notify();
  dial_wakeup_.notify();
}

void PairService::on_message(NodeLink& link, pb::NodeMessage& message) {
  if (link_.get() != &link || !active_) return;
  last_heard_ = net::wall_now();
  if (!greeted_ && !message.has_greeting()) return drop_link("it did not greet first");
  switch (message.what_case()) {
    case pb::NodeMessage::kGreeting:
      return greeted(message.greeting());
    case pb::NodeMessage::kAskHash:
    case pb::NodeMessage::kEntries:
    case pb::NodeMessage::kCommitted:
    case pb::NodeMessage::kCut:
      return follow(message);
    case pb::NodeMessage::kHash:
    case pb::NodeMessage::kAck:
    case pb::NodeMessage::kRefused:
      return answered_by_follower(message);
    case pb::NodeMessage::kCall:
      return answer_call(message.call());
    case pb::NodeMessage::kCallReply:
      return finish_call(*message.mutable_call_reply());
    default:
      return role_message(message);
  }
}

void PairService::role_message(const pb::NodeMessage& message) {
  const auto with_register = [this](const pb::NodeRegister& in) {
    const Result<failover::Register> reg = read_register(in);
    if (!reg) return drop_link("its register cannot be read: " + reg.error().message);
    feed(Roles::PeerRegister{*reg});
  };
  switch (message.what_case()) {
    case pb::NodeMessage::kRoleAsk:
      return feed(Roles::PeerAsks{message.role_ask().token(), net::now()});
    case pb::NodeMessage::kRoleAskReply: {
      const pb::RoleAskReply& reply = message.role_ask_reply();
      std::optional<Error> refused;
      if (!reply.code().empty())
        refused = Error{reply.code(), printable(reply.message(), 200), "", reply.next()};
      return feed(Roles::PeerAsksAnswered{reply.token(), std::move(refused)});
    }
    case pb::NodeMessage::kPrepare: {
      const Result<failover::Prepared> what =
          read_prepared(message.prepare().epoch(), message.prepare().head());
      if (!what) return drop_link("what it prepares cannot be read");
      return feed(Roles::PeerPrepare{*what});
    }
    case pb::NodeMessage::kPrepared:
      return feed(Roles::PeerPrepared{Epoch{message.prepared().epoch()}});
    case pb::NodeMessage::kRoleRefused:
      return feed(Roles::PeerRefused{Epoch{message.role_refused().epoch()},
                                     message.role_refused().code(),
                                     printable(message.role_refused().message(), 200)});
    case pb::NodeMessage::kRoleAbort:
      return feed(Roles::PeerAbort{Epoch{message.role_abort().epoch()}});
    case pb::NodeMessage::kReleased:
      return with_register(message.released().reg());
    case pb::NodeMessage::kServing:
      return with_register(message.serving().reg());
    case pb::NodeMessage::kReg:
      return with_register(message.reg().reg());
    case pb::NodeMessage::kBroken:
      journal("node", "failover.broken_there", "{}");
      return feed(Roles::Broken{0, random_id<LineageId>(), net::now()});
    default:
      log_debug("pair.unknown_message", {});
  }
}

// ---- calls ----

net::Task<Result<std::string>> PairService::call(std::string what, std::string body,
                                                 Instant deadline) {
  if (link_ == nullptr || !greeted_)
    co_return fail("unreachable", "There is no link to the other node", "Nothing was done",
                   dial_failed_);
  const std::uint64_t id = next_id_++;
  const auto call = std::make_shared<Call>(parts_.control);
  calls_[id] = call;
  pb::NodeMessage message;
  message.mutable_call()->set_id(id);
  message.mutable_call()->set_what(std::move(what));
  message.mutable_call()->set_body(std::move(body));
  send(message);
  while (!call->reply) {
    const bool notified = co_await call->wakeup.wait_until(deadline);
    if (!notified) break;
  }
  calls_.erase(id);
  if (!call->reply)
    co_return fail("timeout", "The other node did not answer in time", "The outcome is unknown",
                   "Try again");
  co_return std::move(*call->reply);
}

void PairService::finish_call(pb::NodeCallReply& reply) {
  const auto found = calls_.find(reply.id());
  if (found == calls_.end()) return;
  if (reply.code().empty()) {
    found->second->reply = std::move(*reply.mutable_body());
  } else {
    found->second->reply =
        std::unexpected(Error{printable(reply.code(), 40), printable(reply.message(), 400),
                              printable(reply.kept(), 200), printable(reply.next(), 200)});
  }
  found->second->wakeup.notify();
}

void PairService::answer_call(const pb::NodeCall& call) {
  auto done = [this, id = call.id(), link = link_number_](Result<std::string> answer) {
    if (link != link_number_) return;
    pb::NodeMessage message;
    pb::NodeCallReply& reply = *message.mutable_call_reply();
    reply.set_id(id);
    if (answer) {
      reply.set_body(std::move(*answer));
    } else {
      reply.set_code(answer.error().code);
      reply.set_message(answer.error().message);
      reply.set_kept(answer.error().kept);
      reply.set_next(answer.error().next);
    }
    send(message);
  };
  parts_.host.answer_call(call.what(), call.body(), std::move(done));
}

}  // namespace everspan::node
