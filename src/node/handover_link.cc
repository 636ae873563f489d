#include "node/handover_link.h"

#include <unistd.h>

#include <vector>

#include "common/log.h"
#include "common/version.h"
#include "proto/handover.pb.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

constexpr auto kSendWithin = 10s;
constexpr std::uint32_t kProtocol = 1;
constexpr std::size_t kSnapshotPartBytes = 64 * 1024;  // Half of what a message may have.
constexpr std::size_t kSnapshotPartsMax = 1000;

Moves moves_of(const pb::MoveProgress& said) {
  Moves out{said.moved(), said.total(), said.left()};
  // A release that does not count what is left says at least whether there is any.
  if (!said.done() && out.left == 0) out.left = out.total > out.moved ? out.total - out.moved : 1;
  return out;
}

}  // namespace

struct HandoverLink::Call {
  explicit Call(net::Executor executor) : wakeup(std::move(executor)) {}
  net::Wakeup wakeup;
  std::vector<pb::SnapshotReply> parts;  // Of a reply that comes in several.
  std::unique_ptr<pb::HandoverMessage> reply;
};

HandoverLink::HandoverLink(net::Executor executor, net::Fd socket, Events& events)
    : executor_(executor),
      socket_(std::move(socket)),
      events_(events),
      tasks_(executor),
      outbox_wakeup_(executor) {}

HandoverLink::~HandoverLink() = default;

net::Task<> HandoverLink::run() {
  tasks_.spawn("handover-send", send_loop());
  for (;;) {
    Result<net::Message> message = co_await socket_.receive(Instant::max());
    if (replaced_) break;
    if (!message) {
      log_info("handover.closed", {{"why", message.error().text()}});
      break;
    }
    pb::HandoverMessage parsed;
    if (!parsed.ParseFromString(message->bytes)) {
      log_error("handover.bad_message", {{"bytes", std::to_string(message->bytes.size())}});
      continue;
    }
    dispatch(parsed);
  }
  closed_ = true;
  for (auto& [id, call] : calls_) call->wakeup.notify();
  tasks_.cancel();
  co_await tasks_.join();
  if (!replaced_) events_.on_handover_closed();
}

net::Task<> HandoverLink::send_loop() {
  while (!closed_) {
    if (outbox_.empty()) {
      const bool notified = co_await outbox_wakeup_.wait_until(Instant::max());
      if (!notified) co_return;
      continue;
    }
    net::Message message = std::move(outbox_.front());
    outbox_.pop_front();
    const Result<void> sent = co_await socket_.send(std::move(message), net::now() + kSendWithin);
    if (!sent) {
      log_warning("handover.send_failed", {{"why", sent.error().text()}});
      if (sent.error().code == "cancelled") co_return;
    }
  }
}

void HandoverLink::send(const pb::HandoverMessage& message) {
  if (closed_) return;
  outbox_.push_back({message.SerializeAsString(), {}});
  outbox_wakeup_.notify();
}

void HandoverLink::dispatch(pb::HandoverMessage& message) {
  switch (message.what_case()) {
    case pb::HandoverMessage::kHello:
      return events_.on_peer_hello(message.hello());
    case pb::HandoverMessage::kWrite:
      return events_.on_forwarded_write(message.write().id(), message.write().transaction());
    case pb::HandoverMessage::kWriteOutcome:
      return finish(message.write_outcome().id(), std::move(message));
    case pb::HandoverMessage::kNowServing:
      return events_.on_peer_serving(Generation{message.now_serving().generation()},
                                     Revision{message.now_serving().head_revision()});
    case pb::HandoverMessage::kPushOpen: {
      pb::HandoverMessage reply;
      reply.mutable_push_open_reply()->set_id(message.push_open().id());
      const auto endpoint = EndpointId::from_raw(message.push_open().endpoint_id());
      reply.mutable_push_open_reply()->set_here(
          endpoint && events_.on_push_open(*endpoint, message.push_open().signed_grant()));
      return send(reply);
    }
    case pb::HandoverMessage::kPushOpenReply:
      return finish(message.push_open_reply().id(), std::move(message));
    case pb::HandoverMessage::kSnapshotRequest: {
      pb::SnapshotReply whole;
      events_.fill_snapshot(whole);
      return send_snapshot(message.snapshot_request().id(), whole);
    }
    case pb::HandoverMessage::kSnapshotReply:
      return take_snapshot(message);
    case pb::HandoverMessage::kMoveProgress:
      return events_.on_move_progress(moves_of(message.move_progress()));
    case pb::HandoverMessage::WHAT_NOT_SET:
      log_warning("handover.unknown_message", {});
      return;
  }
}

// In as many messages as it takes: a thousand sessions do not fit into one.
void HandoverLink::send_snapshot(std::uint64_t id, pb::SnapshotReply& whole) {
  pb::HandoverMessage part;
  std::size_t bytes = 0;
  part.mutable_snapshot_reply()->set_id(id);
  for (pb::ClientSnapshot& row : *whole.mutable_clients()) {
    const std::size_t more = row.ByteSizeLong();
    if (bytes > 0 && bytes + more > kSnapshotPartBytes) {
      part.mutable_snapshot_reply()->set_more(true);
      send(part);
      part.mutable_snapshot_reply()->clear_more();
      part.mutable_snapshot_reply()->clear_clients();
      bytes = 0;
    }
    bytes += more;
    *part.mutable_snapshot_reply()->add_clients() = std::move(row);
  }
  send(part);
}

void HandoverLink::take_snapshot(pb::HandoverMessage& message) {
  pb::SnapshotReply& part = *message.mutable_snapshot_reply();
  const std::uint64_t id = part.id();
  const auto found = calls_.find(id);
  if (found == calls_.end()) return;
  Call& call = *found->second;
  if (part.more() && call.parts.size() < kSnapshotPartsMax) {
    call.parts.push_back(std::move(part));
    return;
  }
  for (pb::SnapshotReply& earlier : call.parts) {
    for (pb::ClientSnapshot& row : *earlier.mutable_clients()) *part.add_clients() = std::move(row);
  }
  finish(id, std::move(message));
}

void HandoverLink::finish(std::uint64_t id, pb::HandoverMessage&& message) {
  const auto found = calls_.find(id);
  if (found == calls_.end()) return;
  found->second->reply = std::make_unique<pb::HandoverMessage>(std::move(message));
  found->second->wakeup.notify();
}

net::Task<std::unique_ptr<pb::HandoverMessage>> HandoverLink::call(
    std::unique_ptr<pb::HandoverMessage> message, std::uint64_t id, Instant deadline) {
  auto call = std::make_shared<Call>(executor_);
  calls_[id] = call;
  send(*message);
  while (call->reply == nullptr && !closed_) {
    const bool notified = co_await call->wakeup.wait_until(deadline);
    if (!notified) break;
  }
  calls_.erase(id);
  co_return std::move(call->reply);
}

void HandoverLink::say_hello(std::uint16_t probe_port) {
  pb::HandoverMessage message;
  message.mutable_hello()->set_release(std::string(program_version()));
  message.mutable_hello()->set_pid(static_cast<std::uint32_t>(getpid()));
  message.mutable_hello()->set_probe_port(probe_port);
  message.mutable_hello()->set_protocol(kProtocol);
  send(message);
}

void HandoverLink::say_serving(Generation generation, Revision head) {
  pb::HandoverMessage message;
  message.mutable_now_serving()->set_generation(generation.value);
  message.mutable_now_serving()->set_head_revision(head.value);
  send(message);
}

void HandoverLink::say_moved(const Moves& moves) {
  pb::HandoverMessage message;
  pb::MoveProgress& out = *message.mutable_move_progress();
  out.set_moved(static_cast<std::uint32_t>(moves.moved));
  out.set_total(static_cast<std::uint32_t>(moves.total));
  out.set_left(static_cast<std::uint32_t>(moves.left));
  out.set_done(moves.left == 0);
  send(message);
}

void HandoverLink::answer_write(const pb::WriteOutcome& outcome) {
  pb::HandoverMessage message;
  *message.mutable_write_outcome() = outcome;
  send(message);
}

net::Task<Result<std::unique_ptr<pb::WriteOutcome>>> HandoverLink::forward_write(
    std::string transaction, Instant deadline) {
  auto message = std::make_unique<pb::HandoverMessage>();
  const std::uint64_t id = next_id_++;
  message->mutable_write()->set_id(id);
  message->mutable_write()->set_transaction(std::move(transaction));
  std::unique_ptr<pb::HandoverMessage> reply = co_await call(std::move(message), id, deadline);
  if (reply != nullptr) co_return std::unique_ptr<pb::WriteOutcome>(reply->release_write_outcome());
  if (closed_) co_return fail("peer_gone", "The process that took over ended before it answered");
  co_return fail("unavailable", "The hand-over took too long", "The write may still be done",
                 "Try again with the same Idempotency-Key: it runs once");
}

net::Task<bool> HandoverLink::push_open(EndpointId endpoint, std::string signed_grant,
                                        Instant deadline) {
  auto message = std::make_unique<pb::HandoverMessage>();
  const std::uint64_t id = next_id_++;
  message->mutable_push_open()->set_id(id);
  message->mutable_push_open()->set_endpoint_id(endpoint.raw());
  message->mutable_push_open()->set_signed_grant(std::move(signed_grant));
  const std::unique_ptr<pb::HandoverMessage> reply =
      co_await call(std::move(message), id, deadline);
  co_return reply != nullptr && reply->push_open_reply().here();
}

net::Task<std::unique_ptr<pb::SnapshotReply>> HandoverLink::snapshot(Instant deadline) {
  auto message = std::make_unique<pb::HandoverMessage>();
  const std::uint64_t id = next_id_++;
  message->mutable_snapshot_request()->set_id(id);
  std::unique_ptr<pb::HandoverMessage> reply = co_await call(std::move(message), id, deadline);
  if (reply == nullptr) co_return nullptr;
  co_return std::unique_ptr<pb::SnapshotReply>(reply->release_snapshot_reply());
}

}  // namespace everspan::node
