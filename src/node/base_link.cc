#include "node/base_link.h"

#include <unistd.h>

#include "common/bytes.h"
#include "common/crypto.h"
#include "common/log.h"
#include "common/version.h"
#include "proto/base.pb.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

constexpr auto kRedialEvery = 50ms;  // Base restarts in well under a second.
constexpr auto kSendWithin = 5s;     // A live base reads at once; a stopped one may take a while.
constexpr std::size_t kOutboxMax = 4096;
constexpr std::uint32_t kProtocol = 1;

}  // namespace

struct BaseLink::Pending {
  explicit Pending(net::Executor executor) : wakeup(std::move(executor)) {}
  net::Wakeup wakeup;
  std::string bytes;  // Sent again to a restarted base.
  std::unique_ptr<pb::BaseReply> reply;
};

BaseLink::BaseLink(net::Executor executor, net::MessageSocket socket, Events& events)
    : executor_(executor),
      socket_(std::move(socket)),
      events_(events),
      welcome_(std::make_unique<pb::Welcome>()),
      outbox_wakeup_(executor),
      tasks_(executor) {}

BaseLink::~BaseLink() = default;

net::Message BaseLink::hello_message() const {
  pb::SiteToBase message;
  pb::SiteHello& hello = *message.mutable_hello();
  hello.set_pid(static_cast<std::uint32_t>(getpid()));
  hello.set_release(std::string(program_version()));
  hello.set_slot_token(welcome_->slot_token());
  hello.set_protocol(kProtocol);
  hello.set_generation(generation_.value);
  hello.set_peer_pid(static_cast<std::uint32_t>(peer_pid_));
  net::Message out;
  for (const ListenerFd& listener : listeners_) {
    pb::Listener& entry = *hello.add_listeners();
    entry.set_name(listener.name);
    entry.set_host(listener.address.host);
    entry.set_port(listener.address.port);
    out.fds.push_back(listener.fd.duplicate());
  }
  out.bytes = message.SerializeAsString();
  return out;
}

std::string BaseLink::ready_message() const {
  pb::SiteToBase message;
  message.mutable_ready()->set_release(std::string(program_version()));
  message.mutable_ready()->set_read_revision(ready_->value);
  return message.SerializeAsString();
}

net::Task<Result<void>> BaseLink::greet(Instant deadline) {
  const Result<void> sent = co_await socket_.send(hello_message(), deadline);
  if (!sent) co_return fail(sent);
  Result<net::Message> answer = co_await socket_.receive(deadline);
  if (!answer) co_return fail(answer);
  pb::BaseToSite message;
  if (!message.ParseFromString(answer->bytes) || !message.has_welcome())
    co_return fail("bad_message", "Base did not begin with a welcome");
  *welcome_ = std::move(*message.mutable_welcome());
  if (static_cast<std::size_t>(welcome_->listeners_size()) != answer->fds.size())
    co_return fail("bad_message", "Base sent another number of listeners than it named");
  for (int i = 0; i < welcome_->listeners_size(); ++i) {
    const pb::Listener& entry = welcome_->listeners(i);
    listeners_.push_back({entry.name(),
                          {entry.host(), static_cast<std::uint16_t>(entry.port())},
                          std::move(answer->fds[static_cast<std::size_t>(i)])});
  }
  generation_ = Generation{welcome_->generation()};
  co_return Result<void>();
}

void BaseLink::forget_init() {
  if (!welcome_->has_init()) return;
  wipe(*welcome_->mutable_init()->mutable_admin_password());
  wipe(*welcome_->mutable_init()->mutable_appliance_admin_password());
  welcome_->clear_init();
}

net::Task<> BaseLink::run() {
  tasks_.spawn("base-send", send_loop());
  for (;;) {
    Result<net::Message> message = co_await socket_.receive(Instant::max());
    if (message) {
      dispatch(std::move(*message));
      continue;
    }
    if (message.error().code == "cancelled") break;
    log_warning("base.lost", {{"why", message.error().text()}});
    connected_ = false;
    co_await redial();
    if (!connected_) break;
  }
  tasks_.cancel();
  co_await tasks_.join();
}

// The site goes on without its base; when a new one answers, it gets our listeners and slot token.
net::Task<> BaseLink::redial() {
  for (;;) {
    const bool waited = co_await net::sleep_for(kRedialEvery);
    if (!waited) co_return;
    Result<net::MessageSocket> dialled =
        co_await net::MessageSocket::connect(welcome_->base_socket(), net::now() + 1s);
    if (!dialled) continue;
    const Result<void> sent = co_await dialled->send(hello_message(), net::now() + kSendWithin);
    if (!sent) continue;
    Result<net::Message> answer = co_await dialled->receive(net::now() + kSendWithin);
    pb::BaseToSite message;
    if (!answer || !message.ParseFromString(answer->bytes) || !message.has_welcome()) {
      log_warning("base.refused_us", {{"why", answer ? "no welcome" : answer.error().text()}});
      continue;
    }
    // Kept: data folder and listeners, which we gave; only what base may change is taken over.
    welcome_->set_role(message.welcome().role());
    socket_ = std::move(*dialled);
    connected_ = true;
    if (ready_) outbox_.push_front({ready_message(), {}});
    for (auto& [key, pending] : pending_) outbox_.push_back({pending->bytes, {}});
    outbox_wakeup_.notify();
    log_info("base.back", {{"version", message.welcome().base_version()}});
    co_return;
  }
}

net::Task<> BaseLink::send_loop() {
  for (;;) {
    if (outbox_.empty() || !connected_) {
      co_await outbox_wakeup_.wait_until(Instant::max());
      const auto state = co_await net::asio::this_coro::cancellation_state;
      if (state.cancelled() != net::asio::cancellation_type::none) co_return;
      continue;
    }
    net::Message message = std::move(outbox_.front());
    outbox_.pop_front();
    const Result<void> sent = co_await socket_.send(std::move(message), net::now() + kSendWithin);
    // A lost message is not repeated here: run() notices the cut and sends open requests again.
    if (!sent) log_warning("base.send_failed", {{"why", sent.error().text()}});
  }
}

void BaseLink::say_ready(Revision read) {
  ready_ = read;
  if (!connected_) return;  // Said when base is back.
  outbox_.push_back({ready_message(), {}});
  outbox_wakeup_.notify();
}

void BaseLink::send(const pb::SiteToBase& message) {
  if (!connected_ || outbox_.size() >= kOutboxMax) return;  // Heartbeats and states are renewed.
  outbox_.push_back({message.SerializeAsString(), {}});
  outbox_wakeup_.notify();
}

net::Task<Result<std::unique_ptr<pb::BaseReply>>> BaseLink::request(
    std::unique_ptr<pb::BaseRequest> request, Instant deadline) {
  auto pending = std::make_shared<Pending>(executor_);
  const std::string key = request->key();
  pb::SiteToBase message;
  message.set_allocated_request(request.release());
  pending->bytes = message.SerializeAsString();
  pending_[key] = pending;
  outbox_.push_back({pending->bytes, {}});
  outbox_wakeup_.notify();
  while (pending->reply == nullptr) {
    const bool notified = co_await pending->wakeup.wait_until(deadline);
    if (!notified) break;
  }
  pending_.erase(key);
  if (pending->reply == nullptr)
    co_return fail("timeout", "Base did not answer in time", "The request may still take effect",
                   "It is asked again under the same key");
  co_return std::move(pending->reply);
}

void BaseLink::dispatch(net::Message message) {
  pb::BaseToSite parsed;
  if (!parsed.ParseFromString(message.bytes)) {
    log_error("base.bad_message", {{"bytes", std::to_string(message.bytes.size())}});
    return;
  }
  switch (parsed.what_case()) {
    case pb::BaseToSite::kActivate:
      return events_.on_activate(Generation{parsed.activate().generation()});
    case pb::BaseToSite::kReleaseWriter:
      return events_.on_release_writer(Generation{parsed.release_writer().generation()});
    case pb::BaseToSite::kPeer:
      if (message.fds.size() != 2) {
        log_error("base.bad_peer", {{"fds", std::to_string(message.fds.size())}});
        return;
      }
      return events_.on_peer(parsed.peer().role(), parsed.peer().release(),
                             static_cast<int>(parsed.peer().pid()), std::move(message.fds[0]),
                             std::move(message.fds[1]));
    case pb::BaseToSite::kPeerGone:
      return events_.on_peer_gone(static_cast<int>(parsed.peer_gone().pid()),
                                  parsed.peer_gone().how());
    case pb::BaseToSite::kRoleChanged:
      welcome_->set_role(parsed.role_changed().role());
      return events_.on_role_changed(parsed.role_changed().role(), parsed.role_changed().why());
    case pb::BaseToSite::kRetire:
      return events_.on_retire(parsed.retire().why());
    case pb::BaseToSite::kReply: {
      const auto found = pending_.find(parsed.reply().key());
      if (found == pending_.end()) return;
      found->second->reply = std::make_unique<pb::BaseReply>(std::move(*parsed.mutable_reply()));
      found->second->wakeup.notify();
      return;
    }
    case pb::BaseToSite::kWelcome:
    case pb::BaseToSite::WHAT_NOT_SET:
      // A newer base may say what this release does not know: N-2..N+1 talk, so it is not an error.
      log_warning("base.unknown_message", {});
      return;
  }
}

}  // namespace everspan::node
