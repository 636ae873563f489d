#include "node/node_link.h"

#include <algorithm>

#include "common/bytes.h"
#include "common/log.h"
#include "net/frame_link.h"
#include "proto/node_link.pb.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kReadBytes = 256 * 1024;
constexpr std::size_t kGatherBytes = 256 * 1024;
// A write of this length within this time, longer ones in proportion: a slow line is no dead one.
constexpr auto kWriteWithin = 10s;
constexpr std::size_t kWriteBytes = 256 * 1024;
// So many reads that had not to wait, then others on this executor have their turn.
constexpr int kReadsInARow = 4;

}  // namespace

std::string_view word(LinkPurpose purpose) {
  switch (purpose) {
    case LinkPurpose::control:
      return "control";
    case LinkPurpose::establish:
      return "establish";
  }
  return "?";
}

Result<std::optional<std::string_view>> next_node_message(std::string_view bytes,
                                                          std::size_t& size) {
  using Next = std::optional<std::string_view>;
  if (bytes.size() < 4) return Next();
  std::uint32_t length = 0;
  for (int i = 0; i < 4; ++i) length = length << 8 | static_cast<std::uint8_t>(bytes[i]);
  if (length > kNodeMessageBytesMax)
    return fail("bad_message",
                "A message of " + std::to_string(length) + " bytes, more than a node may send");
  if (bytes.size() - 4 < length) return Next();
  size = 4 + length;
  return Next(bytes.substr(4, length));
}

NodeLink::NodeLink(net::Executor executor, ProvedLink link, Events& events)
    : NodeLink(std::move(executor), std::move(link), events, Timing()) {}
NodeLink::NodeLink(net::Executor executor, ProvedLink link, Events& events, Timing timing)
    : transport_(std::move(link.transport)),
      in_(std::move(link.early)),
      events_(events),
      timing_(timing),
      tasks_(executor),
      outbox_wakeup_(executor),
      ended_(executor) {}
NodeLink::~NodeLink() = default;

net::Task<> NodeLink::run() {
  tasks_.spawn("node-link-read", read_loop());
  tasks_.spawn("node-link-write", write_loop());
  tasks_.spawn("node-link-beat", beat_loop());
  while (!closed_ && !why_) {
    const bool notified = co_await ended_.wait_until(finish_by_.value_or(Instant::max()));
    if (!notified) break;  // Cancelled, or finish() took too long.
  }
  tasks_.cancel();
  co_await tasks_.join();
  transport_->close();
  if (!closed_ && !finish_by_ && why_) events_.on_closed(*this, *why_);
}

void NodeLink::close() {
  closed_ = true;
  ended_.notify();
}

void NodeLink::finish(Duration at_most) {
  if (!hears()) return;
  finish_by_ = net::now() + at_most;
  ended_.notify();  // run() waits no longer than that.
  outbox_wakeup_.notify();
}

void NodeLink::end(Error why) {
  if (!why_) why_ = std::move(why);
  ended_.notify();
}

void NodeLink::send(const pb::NodeMessage& message) {
  if (!hears()) return;
  const std::size_t size = message.ByteSizeLong();
  if (size <= kNodeMessageBytesMax) {
    std::string bytes;
    bytes.reserve(4 + size);
    put_u32(bytes, static_cast<std::uint32_t>(size));
    message.AppendToString(&bytes);
    return put(std::move(bytes));
  }
  const std::string what =
      "A message of " + std::to_string(size) + " bytes, more than goes over a link between nodes";
  log_error("node.too_long",
            {{"what", std::to_string(message.what_case())}, {"bytes", std::to_string(size)}});
  if (!message.has_call_reply()) return end({"too_long", what, "It was not sent", ""});
  pb::NodeMessage refusal;
  refusal.mutable_call_reply()->set_id(message.call_reply().id());
  refusal.mutable_call_reply()->set_code("too_long");
  refusal.mutable_call_reply()->set_message(what);
  send(refusal);
}

void NodeLink::put(std::string bytes) {
  outbox_bytes_ += bytes.size();
  outbox_.push_back(std::move(bytes));
  outbox_wakeup_.notify();
  if (outbox_bytes_ > kHighWater)
    end({"slow_peer", "The other node does not read what is sent to it", "", ""});
}

net::Task<> NodeLink::read_loop() {
  int in_a_row = 0;
  for (;;) {
    std::size_t used = 0;
    while (hears()) {
      std::size_t size = 0;
      const Result<std::optional<std::string_view>> next =
          next_node_message(std::string_view(in_).substr(used), size);
      if (!next) co_return end(next.error());
      if (!*next) break;
      take(**next);
      used += size;
    }
    if (!hears()) co_return;
    in_.erase(0, used);
    if (++in_a_row % kReadsInARow == 0) {
      const bool goes_on = co_await net::sleep_for(Duration::zero());
      if (!goes_on) co_return;
    }
    Result<std::string> more = co_await net::read_some(*transport_, kReadBytes, Instant::max());
    if (!more) co_return end(more.error());
    if (more->empty()) co_return end({"closed", "The other node ended the link", "", ""});
    silent_ = 0;
    in_ += *more;
  }
}

void NodeLink::take(std::string_view bytes) {
  pb::NodeMessage message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return end({"bad_message", "The other node sent what cannot be read", "", ""});
  if (message.has_ping()) {
    pb::NodeMessage reply;
    reply.mutable_pong()->set_n(message.ping().n());
    reply.mutable_pong()->set_wall_ms(net::wall_now().unix_ms);
    return send(reply);
  }
  if (message.has_pong()) return;
  events_.on_message(*this, message);
}

net::Task<> NodeLink::write_loop() {
  while (!closed_ && !why_) {
    if (outbox_.empty()) {
      if (finish_by_) co_return close();
      const bool notified = co_await outbox_wakeup_.wait_until(Instant::max());
      if (!notified) co_return;
      continue;
    }
    // What has queued leaves together.
    std::string bytes = std::move(outbox_.front());
    outbox_.pop_front();
    while (!outbox_.empty() && bytes.size() + outbox_.front().size() <= kGatherBytes) {
      bytes += outbox_.front();
      outbox_.pop_front();
    }
    const std::size_t size = bytes.size();
    const Instant deadline = net::now() + kWriteWithin * static_cast<int>(1 + size / kWriteBytes);
    const Result<void> sent = co_await net::write_all(*transport_, std::move(bytes), deadline);
    if (!sent) co_return end(sent.error());
    outbox_bytes_ -= size;
  }
}

net::Task<> NodeLink::beat_loop() {
  for (;;) {
    const bool waited = co_await net::sleep_for(timing_.heartbeat);
    if (!waited) co_return;
    if (silent_ >= timing_.silent_max)
      co_return end({"silent", "Nothing was heard from the other node for too long", "", ""});
    ++silent_;
    pb::NodeMessage ping;
    ping.mutable_ping()->set_n(++pings_);
    ping.mutable_ping()->set_wall_ms(net::wall_now().unix_ms);
    send(ping);
  }
}

}  // namespace everspan::node
