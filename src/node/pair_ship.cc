// PairService: log shipping, both halves.
#include <algorithm>

#include "common/log.h"
#include "node/pair_codec.h"
#include "node/pair_service.h"
#include "proto/node_link.pb.h"

namespace everspan::node {
namespace {

std::vector<NodeId> read_nodes(const google::protobuf::RepeatedPtrField<std::string>& in) {
  std::vector<NodeId> out;
  for (const std::string& raw : in)
    if (const Result<NodeId> node = NodeId::from_raw(raw)) out.push_back(*node);
  return out;
}
std::optional<Sha256> read_hash(const std::string& raw) {
  Sha256 hash{};
  if (raw.size() != hash.size()) return std::nullopt;
  std::ranges::copy(as_bytes(raw), hash.begin());
  return hash;
}

}  // namespace

// ---- from the writer's thread ----

void PairService::appended(store::LogHead before, std::vector<Shipped> batch) {
  const store::LogHead last =
      batch.empty() ? before : store::LogHead{batch.back().revision, batch.back().hash};
  auto shared = std::make_shared<std::vector<Shipped>>(std::move(batch));
  auto tell = [this, before, last, shared] {
    if (!active_) return;
    // Alone only since the batch began: it was not in what was confirmed at that moment.
    if (alone_) parts_.log.confirm(last, {parts_.node});
    Ship::Appended event{before, {}, {}};
    for (Shipped& one : *shared) {
      event.heads.push_back({one.revision, one.hash});
      event.entries.push_back(std::move(one.entry));
    }
    if (!event.heads.empty()) head_ = event.heads.back();
    feed(Roles::Appended{head_, net::now()});
    feed_ship(event);
  };
  net::asio::post(parts_.control, std::move(tell));
  // The register says that this node is enough: the writer goes on as soon as its own fsync is
  // done. Asked after the post: who is told later that two must have it has heard of this one (R4).
  if (alone_) parts_.log.confirm(last, {parts_.node});
}

void PairService::taken_back(store::LogHead head) {
  auto tell = [this, head] {
    if (active_) back_to(head);
  };
  net::asio::post(parts_.control, std::move(tell));
}

void PairService::back_to(const store::LogHead& head) {
  head_ = head;
  if (peer_durable_.revision > head.revision) peer_durable_ = head;
  feed(Roles::TakenBack{head});
  feed_ship(Ship::TakenBack{head});
}

void PairService::committed(store::LogHead committed, const std::vector<NodeId>& stores) {
  auto tell = [this, committed, stores] {
    if (!active_) return;
    committed_ = std::max(committed_, committed.revision);
    feed_ship(Ship::Committed{committed, stores});
  };
  net::asio::post(parts_.control, std::move(tell));
}

// ---- leader ----

void PairService::feed_ship(const Ship::Event& event) {
  if (!leads_) return;
  const Ship::State before = ship_.state();
  for (Ship::Action& action : ship_.handle(event)) perform_ship(std::move(action));
  if (ship_.state() != before)
    log_info("pair.shipping", {{"state", std::string(sync::word(ship_.state()))},
                               {"durable", std::to_string(ship_.durable().value)},
                               {"head", std::to_string(head_.revision.value)}});
}

void PairService::ship_with_peer() {
  if (!leads_) return;
  if (link_ == nullptr || greeting_ == nullptr || !greeted_) return;
  const Result<store::LogMeta> meta = parts_.reader.meta();
  if (!meta) {
    log_error("pair.log_unreadable", {{"why", meta.error().text()}});
    return;
  }
  const Result<store::LogHead> base = read_point(greeting_->base());
  const Result<store::LogHead> head = read_point(greeting_->head());
  if (!base || !head) {
    return drop_link("its log's points cannot be read");
  }
  Ship::Connected event;
  event.link = link_number_;
  event.own_lineage = meta->lineage;
  event.own_base = meta->base;
  event.own_head = head_;
  const Result<store::LogHead> committed = parts_.reader.head();
  if (!committed) return drop_link("this node's log cannot be read");
  event.own_committed = *committed;
  event.stores = {parts_.node};
  const Result<LineageId> lineage = LineageId::from_raw(greeting_->log_lineage());
  event.lineage = lineage ? *lineage : LineageId{};
  event.base = *base;
  event.head = *head;
  event.committed = Revision{greeting_->committed()};
  event.yields = greeting_->yields();
  peer_durable_ = {};
  not_taken_.clear();
  feed_ship(event);
}

void PairService::perform_ship(Ship::Action action) {
  pb::NodeMessage message;
  if (const auto* own = std::get_if<Ship::AskOwnHash>(&action)) {
    const Result<Sha256> hash = parts_.reader.hash_at(own->revision);
    return feed_ship(
        Ship::OwnHash{own->revision, hash ? std::optional<Sha256>(*hash) : std::nullopt});
  }
  if (const auto* asking = std::get_if<Ship::AskPeerHash>(&action)) {
    message.mutable_ask_hash()->set_revision(asking->revision.value);
  } else if (const auto* loading = std::get_if<Ship::Load>(&action)) {
    tasks_.spawn("pair-load", load(*loading));
  } else if (auto* sending = std::get_if<Ship::SendEntries>(&action)) {
    put_point(sending->before, *message.mutable_entries()->mutable_before());
    for (std::string& entry : sending->entries)
      message.mutable_entries()->add_entries(std::move(entry));
    message.mutable_entries()->set_epoch(record_.reg.epoch.value);
  } else if (const auto* cutting = std::get_if<Ship::SendCut>(&action)) {
    put_point(cutting->common, *message.mutable_cut()->mutable_common());
  } else if (const auto* committing = std::get_if<Ship::SendCommitted>(&action)) {
    put_point(committing->head, *message.mutable_committed()->mutable_committed());
    for (const NodeId& node : committing->stores)
      message.mutable_committed()->add_stores(node.raw());
  } else if (std::get_if<Ship::SendSnapshot>(&action) != nullptr) {
    // Nothing here lets go of entries, so a log reaches back to its first one; else a person helps.
    log_error("pair.snapshot_needed",
              {{"why", ship_.why()},
               {"next",
                "Break the relationship, start the backup with an empty folder and --join, "
                "establish again"}});
  } else if (const auto* durable = std::get_if<Ship::Durable>(&action)) {
    peer_durable_ = durable->head;
    feed(Roles::PeerHas{peer_durable_.revision, net::now()});
    if (peer_durable_.revision >= head_.revision) last_in_sync_ = net::wall_now();
    confirm_what_both_have();
    moved_.notify();
  } else if (const auto* diverged = std::get_if<Ship::Diverged>(&action)) {
    log_error("pair.diverged", {{"why", diverged->why},
                                {"common", std::to_string(diverged->common.revision.value)}});
    journal("node", "failover.diverged",
            "{\"common\":" + std::to_string(diverged->common.revision.value) + "}");
    feed(Roles::HistoriesDiffer{});
  }
  if (message.what_case() != pb::NodeMessage::WHAT_NOT_SET) send(message);
}

net::Task<> PairService::load(Ship::Load action) {
  store::LogReader* reader = &parts_.reader;
  const std::function<Result<store::LogReader::Appended>()> work = [reader, action] {
    return reader->appended(action.after, action.entries_max);
  };
  const std::uint64_t link = link_number_;
  Result<store::LogReader::Appended> loaded = co_await parts_.pool.run(work);
  if (link != link_number_) co_return;
  Ship::Loaded event;
  event.stores = {parts_.node};
  if (loaded) {
    event.before = loaded->before;
    event.foldable = loaded->foldable;
    for (Shipped& one : loaded->entries) {
      event.heads.push_back({one.revision, one.hash});
      event.entries.push_back(std::move(one.entry));
    }
  } else if (loaded.error().code == "compacted") {
    event.compacted = true;
  } else {
    log_error("pair.log_unreadable", {{"why", loaded.error().text()}});
    if (link_ != nullptr) drop_link("this node's log cannot be read");
    co_return;
  }
  feed_ship(event);
}

// R3: what the durable register names must have it; then the writer may answer.
void PairService::confirm_what_both_have() {
  if (!leads_) return;
  if (!peer_confirms_) return parts_.log.confirm(head_, {parts_.node});
  if (peer_durable_.revision.value == 0) return;
  std::vector<NodeId> both{parts_.node, record_.peer};
  std::ranges::sort(both);
  parts_.log.confirm(peer_durable_, std::move(both));
}

// ---- follower ----

void PairService::follow(pb::NodeMessage& message) {
  if (message.has_ask_hash()) {
    pb::NodeMessage reply;
    const Revision revision{message.ask_hash().revision()};
    reply.mutable_hash()->set_revision(revision.value);
    const Result<Sha256> hash = parts_.reader.hash_at(revision);
    if (hash) reply.mutable_hash()->set_hash(to_string(Bytes(*hash)));
    return send(reply);
  }
  if (!follows_) {
    pb::NodeMessage reply;
    reply.mutable_refused()->set_code("not_following");
    reply.mutable_refused()->set_message("This node does not follow");
    put_point(head_, *reply.mutable_refused()->mutable_head());
    return send(reply);
  }
  if (message.has_entries()) return append_from_peer(message);
  if (message.has_committed()) return fold_as_peer(message);
  const Result<store::LogHead> common = read_point(message.cut().common());
  if (!common) return drop_link("a point that cannot be read");
  auto done = [this](Result<store::LogHead> head) { appended_from_peer(std::move(head)); };
  parts_.log.cut_to(*common, parts_.paths.node() + "/orphans", std::move(done));
}

void PairService::append_from_peer(const pb::NodeMessage& message) {
  const Result<store::LogHead> before = read_point(message.entries().before());
  if (!before) return drop_link("a point that cannot be read");
  std::vector<std::string> entries(message.entries().entries().begin(),
                                   message.entries().entries().end());
  auto done = [this](Result<store::LogHead> head) { appended_from_peer(std::move(head)); };
  parts_.log.append_shipped(Epoch{message.entries().epoch()}, *before, std::move(entries),
                            std::move(done));
}

void PairService::fold_as_peer(const pb::NodeMessage& message) {
  const Result<store::LogHead> head = read_point(message.committed().committed());
  if (!head) return drop_link("a point that cannot be read");
  auto done = [this](Result<store::LogHead> committed) {
    auto tell = [this, committed = std::move(committed)] {
      if (committed) {
        committed_ = std::max(committed_, committed->revision);
      } else if (committed.error().code != "not_next" && committed.error().code != "released") {
        log_warning("pair.fold_refused", {{"why", committed.error().text()}});
      }
    };
    net::asio::post(parts_.control, std::move(tell));
  };
  parts_.log.fold_shipped(*head, read_nodes(message.committed().stores()), std::move(done));
}

// On the writer's thread.
void PairService::appended_from_peer(Result<store::LogHead> head) {
  auto tell = [this, link = link_number_, head = std::move(head)] {
    if (!active_) return;
    // What the other's word asked for may end when this node leads already: then the shipping core
    // hears of a cut, too, lest it wait for ever for what is gone.
    if (head && head->revision < head_.revision) {
      back_to(*head);
    } else if (head) {
      head_ = *head;
      feed(Roles::Appended{head_, net::now()});
    }
    if (link != link_number_) return;
    pb::NodeMessage reply;
    if (head) {
      not_taken_.clear();
      put_point(*head, *reply.mutable_ack()->mutable_head());
    } else {
      if (not_taken_ != head.error().text()) {  // It is sent again each second.
        not_taken_ = head.error().text();
        log_warning("pair.append_refused", {{"why", not_taken_}});
      }
      reply.mutable_refused()->set_code(head.error().code);
      reply.mutable_refused()->set_message(head.error().message);
      put_point(head_, *reply.mutable_refused()->mutable_head());
    }
    send(reply);
  };
  net::asio::post(parts_.control, std::move(tell));
}

void PairService::answered_by_follower(const pb::NodeMessage& message) {
  if (message.has_hash())
    return feed_ship(Ship::PeerHash{link_number_, Revision{message.hash().revision()},
                                    read_hash(message.hash().hash())});
  const pb::NodePoint& point = message.has_ack() ? message.ack().head() : message.refused().head();
  const Result<store::LogHead> head = read_point(point);
  if (!head) return drop_link("a point that cannot be read");
  if (message.has_ack()) {
    not_taken_.clear();
    return feed_ship(Ship::Acked{link_number_, *head});
  }
  const std::string why = printable(message.refused().message(), 200);
  if (not_taken_ != why) {  // It is sent again each second.
    not_taken_ = why;
    log_warning("pair.refused_there",
                {{"code", printable(message.refused().code(), 40)}, {"why", why}});
  }
  feed_ship(
      Ship::Refused{link_number_, message.refused().code(), message.refused().message(), *head});
}

net::Task<Result<void>> PairService::wait_in_sync(Revision wanted, Instant deadline) {
  while (active_ && leads_ && peer_durable_.revision < wanted) {
    const bool notified = co_await moved_.wait_until(deadline);
    if (!notified)
      co_return fail("timeout", "The other node lacks " +
                                    std::to_string(wanted.value - peer_durable_.revision.value) +
                                    " entries still");
  }
  if (follows_ && committed_ < wanted)
    co_return fail("timeout", "This node is the backup and lacks entries still");
  co_return Result<void>();
}

}  // namespace everspan::node
