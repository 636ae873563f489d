// The site process beside another one of its node: hand-over link, bridge, moving the ends,
// retiring.
#include "common/log.h"
#include "common/version.h"
#include "net/socket.h"
#include "node/site_process.h"
#include "proto/base.pb.h"
#include "proto/handover.pb.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

// Base kills a process that has not ended 10 s after Retire. The plan has waited for the moves
// before that (NodeUpgrade), so this is for other reasons to leave; what is left then re-dials by
// its orders.
constexpr auto kMovedWithin = 10min;  // As long as base waits for a process that ends leave.
constexpr auto kRelayClosesWithin = 3s;
constexpr auto kSnapshotEvery = 1s;
constexpr auto kProbeWithin = 10s;
constexpr auto kSlowLoop = 2s;  // A loop this late serves nobody.

}  // namespace

void SiteProcess::on_peer(int role, std::string release, int pid, net::Fd handover,
                          net::Fd bridge) {
  log_info("handover.peer", {{"role", std::to_string(role)},
                             {"release", std::move(release)},
                             {"pid", std::to_string(pid)}});
  std::erase_if(old_handovers_, [](const Handover& old) { return old.tasks->running() == 0; });
  base_.set_peer_pid(pid);
  if (handover_.link != nullptr) {
    handover_.link->replaced();
    handover_.tasks->cancel();
    old_handovers_.push_back(std::move(handover_));
    writes_.peer_lost();
  }
  peer_probe_port_ = 0;
  handover_.link = std::make_unique<HandoverLink>(control_, std::move(handover), *this);
  handover_.tasks = std::make_unique<net::TaskScope>(control_);
  handover_.tasks->spawn("handover-link", run_handover(*handover_.link));
  handover_.link->say_hello(net::local_address(probe_listener_.get()).port);
  if (relay_ != nullptr) relay_->set_peer(std::move(bridge));
  if (live_ != nullptr) live_->set_peer(handover_.link.get());
  writes_.peer_connected(*handover_.link);
  // A process that comes beside one that serves already hears it at once.
  if (writes_.serving()) {
    const Result<store::LogHead> head = log_->head();
    handover_.link->say_serving(generation_, head ? head->revision : Revision{});
  }
}

net::Task<> SiteProcess::run_handover(HandoverLink& link) {
  co_await link.run();
}

void SiteProcess::on_handover_closed() {
  if (live_ != nullptr) live_->set_peer(nullptr);
  peer_probe_port_ = 0;
  if (!writes_.serving()) ready_ = false;  // Nobody to forward to.
  ends_left_ = 0;                          // Nor to move to.
  ends_moved_.notify();
  if (upgrade_ != nullptr) upgrade_->no_more_moves();
  base_.set_peer_pid(0);
  writes_.peer_lost();
}

void SiteProcess::on_peer_gone(int pid, std::string how) {
  log_info("handover.peer_gone", {{"pid", std::to_string(pid)}, {"how", std::move(how)}});
  if (relay_ != nullptr) relay_->drop_peer();
}

void SiteProcess::on_peer_hello(const pb::HandoverHello& hello) {
  peer_probe_port_ = static_cast<std::uint16_t>(hello.probe_port());
}

// Through the pair, so that it waits where the pair's turn is passed on.
void SiteProcess::on_forwarded_write(std::uint64_t id, std::string transaction) {
  tasks_.spawn("forwarded-write", run_forwarded_write(id, std::move(transaction)));
}

net::Task<> SiteProcess::run_forwarded_write(std::uint64_t id, std::string transaction) {
  Result<std::string> answer = fail("unavailable", "No answer");
  CallDone done = [&answer](Result<std::string> result) { answer = std::move(result); };
  co_await answer_write_call(std::move(transaction), done);
  pb::WriteOutcome out;
  if (!answer) {
    out.set_code(answer.error().code);
    out.set_message(answer.error().message);
  } else if (!out.ParseFromString(*answer)) {
    out.set_code("bad_answer");
  }
  out.set_id(id);
  if (handover_.link != nullptr) handover_.link->answer_write(out);
}

void SiteProcess::on_peer_serving(Generation generation, Revision head) {
  log_info("handover.peer_serves", {{"generation", std::to_string(generation.value)},
                                    {"revision", std::to_string(head.value)}});
  writes_.peer_serves(generation.value);
  if (!writes_.serving()) move_ends("upgrade");
}

void SiteProcess::move_ends(std::string reason) {
  if (relay_ == nullptr) return;
  ends_left_ = 1;  // Until the relay has counted them.
  relay::Pace pace;
  pace.reason = std::move(reason);
  auto progress = [this](relay::MoveProgress now) {
    auto tell = [this, now] {
      ends_left_ = now.left;
      if (now.left == 0) ends_moved_.notify();
      const Moves moves{now.moved + now.lost, now.legs_total, now.left};
      if (upgrade_ != nullptr) upgrade_->set_moves(moves);
      if (handover_.link != nullptr) handover_.link->say_moved(moves);
      if (now.left == 0) log_info("ends.moved", {{"legs", std::to_string(moves.total)}});
    };
    net::asio::post(control_, std::move(tell));
  };
  relay_->migrate_all(std::move(pace), std::move(progress));
}

bool SiteProcess::on_push_open(EndpointId endpoint, std::string signed_grant) {
  return relay_ != nullptr && relay_->open_session(endpoint, signed_grant);
}

void SiteProcess::on_move_progress(const Moves& moves) {
  if (upgrade_ != nullptr) upgrade_->set_moves(moves);
}

void SiteProcess::fill_snapshot(pb::SnapshotReply& reply) {
  if (live_ != nullptr) live_->fill_reply(last_snapshot_, reply);
}

net::Task<> SiteProcess::refresh_snapshot() {
  for (;;) {
    // Only while another process may ask for it.
    if (handover_.link != nullptr) last_snapshot_ = co_await live_->local_snapshot();
    const bool waited = co_await net::sleep_for(kSnapshotEvery);
    if (!waited) co_return;
  }
}

net::Task<> SiteProcess::retire(std::string why) {
  log_info("site.retiring", {{"why", std::move(why)}});
  // The ends are moving to the process that serves now; what is left then re-dials by its orders.
  const Instant deadline = net::now() + kMovedWithin;
  while (handover_.link != nullptr && !writes_.serving() && ends_left_ > 0) {
    const bool moved = co_await ends_moved_.wait_until(deadline);
    if (!moved) break;
  }
  co_await acceptor_.stop();
  co_await probe_acceptor_.stop();
  if (upgrade_ != nullptr) co_await upgrade_->stop_runner();
  bool relay_closed = true;
  if (relay_ != nullptr) {
    const auto closed = std::make_shared<net::Wakeup>(control_);
    auto done = [this, closed] {
      auto tell = [closed] { closed->notify(); };
      net::asio::post(control_, std::move(tell));
    };
    log_info("site.closing_relay");
    relay_->shutdown(std::move(done));
    relay_closed = co_await closed->wait_until(net::now() + kRelayClosesWithin);
  }
  // What was recorded and journalled reaches the disk before this process ends.
  recording::Recorder* recorder = recorder_.release();
  store::Journal* journal = journal_.get();
  const std::function<Result<void>()> flush = [recorder, journal, relay_closed]() -> Result<void> {
    if (relay_closed) delete recorder;  // Else a thread that is late may still come to it.
    store::JournalEntry entry;
    entry.who = "node";
    entry.what = "site.retired";
    entry.subject = std::string(program_version());
    entry.at = net::wall_now();
    const Result<std::uint64_t> written = journal->append_and_wait(std::move(entry));
    if (!written) return fail(written);
    return {};
  };
  const Result<void> flushed = co_await pool_.run(flush);
  if (!flushed) log_error("journal.flush_failed", {{"why", flushed.error().text()}});
  stop_in_order_ = true;
  stopped_.notify();
}

net::Task<> SiteProcess::follow_log() {
  Result<store::HeadWatch> watch = store::HeadWatch::open(paths_.log());
  if (!watch) co_return give_up("The log cannot be watched: " + watch.error().text());
  std::string said = view_.console_notice().value_or("");
  for (;;) {
    const Result<std::vector<EndedSession>> ended = view_.follow(*log_, net::wall_now());
    if (!ended) {
      // A learner that cannot read does not stop the writer; the writer itself must.
      log_error("log.follow_failed", {{"why", ended.error().text()}});
      if (writes_.serving()) co_return give_up("The log cannot be read: " + ended.error().text());
    } else {
      for (const EndedSession& session : *ended)
        relay_->end_session(session.session, session.signed_tombstone);
      for (const EndpointId& endpoint : view_.take_removed_endpoints())
        relay_->close_endpoint(endpoint, "removed");
      if (view_.take_rights_changed()) look_at_sessions_.notify();
      writes_.set_feature_level(view_.feature_level());
      const Result<void> certificate = follow_certificate();
      if (!certificate) log_error("site.bad_certificate", {{"why", certificate.error().text()}});
      if (!writes_.serving() && log_writer_ != nullptr) log_writer_->verify_ahead();
      // The banner was changed, or the level that lets it out was raised.
      std::string notice = view_.console_notice().value_or("");
      if (notice != said) relay_->broadcast_notice();
      said = std::move(notice);
    }
    // A hint may be lost with the process that gives it, so look now and then in any case.
    co_await net::wait_readable(watch->fd(), net::now() + 1s);
    const auto state = co_await net::asio::this_coro::cancellation_state;
    if (state.cancelled() != net::asio::cancellation_type::none) co_return;
    watch->drain();
  }
}

upgrade::Health SiteProcess::health() const {
  if (recorder_ != nullptr) {
    if (const std::optional<Error> failing = recorder_->failing())
      return {false, "recording: " + failing->text()};
  }
  if (io_.loop_delay() > kSlowLoop) return {false, "an io thread is late by seconds"};
  return {true, {}};
}

net::Task<> SiteProcess::heartbeats() {
  const auto every = std::chrono::milliseconds(std::max(50U, base_.welcome().heartbeat_ms()));
  for (;;) {
    const upgrade::Health now = health();
    pb::SiteToBase message;
    message.mutable_heartbeat()->set_healthy(now.healthy);
    message.mutable_heartbeat()->set_why(now.why);
    message.mutable_heartbeat()->set_committed_revision(view_.applied().value);
    message.mutable_heartbeat()->set_ends_left(static_cast<std::uint32_t>(ends_left_));
    message.mutable_heartbeat()->set_has_site(identity_ != nullptr);
    base_.send(message);
    const bool waited = co_await net::sleep_for(every);
    if (!waited) co_return;
  }
}

net::Task<Result<std::string>> SiteProcess::probe(std::uint16_t port) {
  if (port == 0)
    co_return fail("probe_failed", "The candidate has not said where it can be probed");
  const Result<store::LogMeta> meta = log_->meta();
  if (!meta) co_return fail(meta);
  ProbeTarget target{{"127.0.0.1", port}, identity_->certificate_names.front(), identity_->ca_pem};
  const ProbeIdentity identity{identity_->id, probe_endpoint(*probe_key_), probe_key_.get(),
                               &secrets_->grant_key, meta->epoch};
  const Result<ProbeReport> report =
      co_await run_probe(std::move(target), identity, net::now() + kProbeWithin);
  if (!report) co_return fail(report);
  co_return report->release;
}

}  // namespace everspan::node
