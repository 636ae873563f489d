#include "node/write_path.h"

#include "common/crypto.h"
#include "common/log.h"
#include "node/transaction_codec.h"
#include "proto/handover.pb.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

// A hand-over takes milliseconds; a client that waits longer than this hears "unavailable" and asks
// again.
constexpr auto kAnswerWithin = 10s;
constexpr std::size_t kWaitingMax = 10'000;

Error unavailable() {
  return {"unavailable", "The site is being handed over and took too long", "Nothing was done",
          "Try again in a moment"};
}
Error unknown_outcome() {
  return {"unavailable", "The process that ran the write ended before it answered",
          "The write may have been done", "Try again with the same Idempotency-Key: it runs once"};
}

}  // namespace

struct WritePath::Pending {
  store::Transaction transaction;
  std::vector<std::shared_ptr<net::Wakeup>> askers;  // Clients that wait here for it.
  std::optional<Result<store::Outcome>> result;
  bool answered = false;
  std::uint64_t peer_call = 0;  // 0: not the peer's.
};

WritePath::WritePath(net::Executor control, Backend& backend, Host& host)
    : control_(control), backend_(backend), host_(host), tasks_(control) {}

WritePath::~WritePath() = default;

bool WritePath::serving() const {
  return core_.state() == Core::State::serving;
}

// Events that a Host raises while actions run wait for their turn: the core's actions keep their
// order.
void WritePath::feed(const Core::Event& event) {
  later_.push_back(event);
  if (feeding_) return;
  feeding_ = true;
  while (!later_.empty()) {
    const Core::Event next = std::move(later_.front());
    later_.pop_front();
    for (const Core::Action& action : core_.handle(next)) perform(action);
  }
  feeding_ = false;
}

net::Task<Result<store::Outcome>> WritePath::submit(store::Transaction transaction) {
  return net::asio::co_spawn(control_, submit_here(std::move(transaction)),
                             net::asio::use_awaitable);
}

net::Task<Result<store::Outcome>> WritePath::submit_here(store::Transaction transaction) {
  if (transaction.request_id.is_zero()) transaction.request_id = random_id<RequestId>();
  transaction.feature_level = feature_level_;
  const std::string id = transaction.request_id.raw();
  std::shared_ptr<Pending> pending;
  if (const auto found = pending_.find(id); found != pending_.end()) {
    pending = found->second;  // A retry while the first is under way: both get its outcome.
  } else {
    if (pending_.size() >= kWaitingMax)
      co_return Result<store::Outcome>(std::unexpected(unavailable()));
    pending = std::make_shared<Pending>();
    pending->transaction = std::move(transaction);
    pending_[id] = pending;
    feed(Core::Write{id, false});
  }
  if (!pending->answered) {
    const auto wakeup = std::make_shared<net::Wakeup>(control_);
    pending->askers.push_back(wakeup);
    const bool notified = co_await wakeup->wait_until(net::now() + kAnswerWithin);
    if (!notified && !pending->answered) feed(Core::GiveUp{id});
  }
  if (!pending->result) co_return Result<store::Outcome>(std::unexpected(unknown_outcome()));
  co_return *pending->result;
}

void WritePath::begin_anew() {
  feed(Core::BeginsAnew{});
}
void WritePath::granted(std::uint64_t turn, std::uint64_t head_needed) {
  feed(Core::Granted{turn, head_needed});
}
void WritePath::have_head(std::uint64_t revision) {
  feed(Core::HaveHead{revision});
}
void WritePath::ask_release(std::uint64_t turn) {
  feed(Core::AskRelease{turn});
}
void WritePath::abort_release() {
  feed(Core::AbortRelease{});
}
void WritePath::peer_connected(Peer& peer) {
  peer_ = &peer;
  feed(Core::PeerConnected{});
}
void WritePath::peer_lost() {
  peer_ = nullptr;
  feed(Core::PeerLost{});
}
void WritePath::peer_serves(std::uint64_t turn) {
  feed(Core::PeerServes{turn});
}

void WritePath::forwarded_write(std::uint64_t id, std::string transaction) {
  Result<store::Transaction> decoded = decode_transaction(transaction);
  if (!decoded) return answer_peer(id, fail(decoded));
  const std::string key = decoded->request_id.raw();
  if (const auto found = pending_.find(key); found != pending_.end()) {
    found->second->peer_call = id;  // The same write came both ways: one run, both answered.
    return;
  }
  auto pending = std::make_shared<Pending>();
  pending->transaction = std::move(*decoded);
  pending->peer_call = id;
  pending_[key] = pending;
  feed(Core::Write{key, true});
}

void WritePath::perform(const Core::Action& action) {
  if (const auto* raising = std::get_if<Core::RaiseLog>(&action)) {
    tasks_.spawn("raise-turn", raise(raising->turn));
  } else if (std::get_if<Core::StartAccepting>(&action) != nullptr) {
    host_.start_accepting();
  } else if (std::get_if<Core::StopAccepting>(&action) != nullptr) {
    host_.stop_accepting();
  } else if (const auto* serving = std::get_if<Core::TellServing>(&action)) {
    host_.serving(serving->turn);
  } else if (const auto* not_serving = std::get_if<Core::TellNotServing>(&action)) {
    host_.not_serving(not_serving->turn, not_serving->why);
  } else if (const auto* released = std::get_if<Core::TellReleased>(&action)) {
    auto done = [this, turn = released->turn](Result<store::LogHead> head) {
      auto tell = [this, turn, head = std::move(head)] {
        if (!head) log_error("log.release_failed", {{"why", head.error().text()}});
        host_.released(turn, head ? *head : store::LogHead{});
      };
      net::asio::post(control_, std::move(tell));
    };
    backend_.release(std::move(done));
  } else if (const auto* run = std::get_if<Core::RunWrite>(&action)) {
    run_write(run->id);
  } else if (const auto* forwarding = std::get_if<Core::ForwardWrite>(&action)) {
    tasks_.spawn("forward-write", forward(forwarding->id));
  } else if (const auto* answering = std::get_if<Core::Answer>(&action)) {
    answer(*answering);
  }
}

net::Task<> WritePath::raise(std::uint64_t turn) {
  const Result<void> raised = co_await backend_.raise(turn);
  if (raised) {
    feed(Core::Raised{turn});
  } else {
    feed(Core::RaiseFailed{turn, raised.error().text()});
  }
}

void WritePath::run_write(const std::string& id) {
  const auto found = pending_.find(id);
  if (found == pending_.end()) {
    feed(Core::WriteDone{id, failover::WriteOutcome::not_run});
    return;
  }
  auto done = [this, id](Result<store::Outcome> result) {
    auto tell = [this, id, result = std::move(result)]() mutable { ran(id, std::move(result)); };
    net::asio::post(control_, std::move(tell));
  };
  backend_.run(found->second->transaction, std::move(done));
}

void WritePath::ran(const std::string& id, Result<store::Outcome> result) {
  const std::string code = result ? std::string() : result.error().code;
  if (const auto found = pending_.find(id); found != pending_.end())
    found->second->result = std::move(result);
  // These say that nothing was written; the write may still run at the process that writes now.
  if (code == "superseded") feed(Core::Fenced{});
  const bool not_run =
      code == "superseded" || code == "released" || code == "not_writer" || code == "stopped";
  feed(Core::WriteDone{id,
                       not_run ? failover::WriteOutcome::not_run : failover::WriteOutcome::done});
}

net::Task<> WritePath::forward(std::string id) {
  const auto found = pending_.find(id);
  if (found == pending_.end() || peer_ == nullptr) co_return;  // PeerLost puts it back.
  const std::shared_ptr<Pending> pending = found->second;
  Result<std::unique_ptr<pb::WriteOutcome>> reply = co_await peer_->forward_write(
      encode_transaction(pending->transaction), net::now() + kAnswerWithin);
  if (!reply) {
    if (reply.error().code != "peer_gone")
      feed(Core::PeerAnswered{id, failover::WriteOutcome::unknown});
    co_return;  // Gone: the core hears PeerLost and keeps the write.
  }
  const pb::WriteOutcome& outcome = **reply;
  if (outcome.ok()) {
    pending->result = decode_outcome(outcome.outcome());
  } else {
    pending->result =
        std::unexpected(Error{outcome.code(), outcome.message(), outcome.kept(), outcome.next()});
  }
  feed(Core::PeerAnswered{id, failover::WriteOutcome::done});
}

void WritePath::answer(const Core::Answer& action) {
  const auto found = pending_.find(action.id);
  if (found == pending_.end()) return;
  const std::shared_ptr<Pending> pending = found->second;
  pending_.erase(found);
  switch (action.outcome) {
    case failover::WriteOutcome::done:
      break;
    case failover::WriteOutcome::not_run:
    case failover::WriteOutcome::unavailable:
      pending->result = std::unexpected(unavailable());
      break;
    case failover::WriteOutcome::unknown:
      pending->result = std::unexpected(unknown_outcome());
      break;
  }
  pending->answered = true;
  if (pending->peer_call != 0 && pending->result) answer_peer(pending->peer_call, *pending->result);
  for (const auto& asker : pending->askers) asker->notify();
}

void WritePath::answer_peer(std::uint64_t call, const Result<store::Outcome>& result) {
  if (peer_ == nullptr) return;
  pb::WriteOutcome out;
  out.set_id(call);
  out.set_ok(result.has_value());
  if (result) {
    out.set_outcome(encode_outcome(*result));
  } else {
    out.set_code(result.error().code);
    out.set_message(result.error().message);
    out.set_kept(result.error().kept);
    out.set_next(result.error().next);
  }
  peer_->answer_write(out);
}

net::Task<> WritePath::join() {
  tasks_.cancel();
  co_await tasks_.join();
}

}  // namespace everspan::node
