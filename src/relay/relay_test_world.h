// For relay_test.cc: a site's services in memory, site processes with relay and recorder on one
// shared listener, and ends over real TLS that send numbered bytes and check every byte they get.
#pragma once
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <future>
#include <map>
#include <mutex>
#include <string>

#include "access/certificates.h"
#include "access/core/attach_proof.h"
#include "access/core/grant.h"
#include "common/crypto.h"
#include "net/frame_link.h"
#include "net/io_threads.h"
#include "net/socket.h"
#include "net/tls.h"
#include "proto/link.pb.h"
#include "recording/reader.h"
#include "recording/recorder.h"
#include "relay/end/session_end.h"  // lint: allow layer because tests play the real ends
#include "relay/relay.h"

namespace everspan::relay::testing {

// Waits for a condition that other threads bring about; half a minute is far above any honest run.
class Watch {
 public:
  void changed() { wake_.notify_all(); }
  template <class Condition>
  [[nodiscard]] bool wait(Condition holds) {
    std::unique_lock lock(mutex_);
    const Instant until = net::now() + std::chrono::seconds(30);
    while (!holds()) {
      if (net::now() > until) return false;
      wake_.wait_for(lock, std::chrono::milliseconds(5));
    }
    return true;
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
};

class TestSite final : public Services {
 public:
  TestSite() : key(SigningKey::generate()), agent_key(SigningKey::generate()) {
    endpoint = random_id<EndpointId>();
    site = random_id<SiteId>();
  }
  SigningKey key;
  SigningKey agent_key;
  SiteId site;
  EndpointId endpoint;
  OrdersInfo current_orders;
  std::optional<NoticeInfo> current_notice;
  mutable std::mutex mutex;
  std::map<SessionId, std::string> tombstones;
  std::vector<SessionEvent> events;
  std::map<EndpointId, bool> online;
  std::vector<Error> refusals;
  std::vector<SessionId> end_requests;

  [[nodiscard]] SiteId site_id() const override { return site; }
  [[nodiscard]] NodeId node_id() const override { return NodeId{}; }
  [[nodiscard]] std::optional<std::string> grant_key(std::string_view id) const override {
    if (id != access::grant_key_id(key.public_key())) return std::nullopt;
    return key.public_key();
  }
  [[nodiscard]] std::optional<std::string> endpoint_key(const EndpointId& id) const override {
    if (id != endpoint) return std::nullopt;
    return agent_key.public_key();
  }
  [[nodiscard]] std::optional<std::string> ended(const SessionId& id) const override {
    const std::lock_guard lock(mutex);
    const auto found = tombstones.find(id);
    if (found == tombstones.end()) return std::nullopt;
    return found->second;
  }
  void request_end(const SessionId& id, std::string) override {
    const std::lock_guard lock(mutex);
    end_requests.push_back(id);
  }
  [[nodiscard]] OrdersInfo orders() const override {
    const std::lock_guard lock(mutex);
    return current_orders;
  }
  [[nodiscard]] std::optional<NoticeInfo> notice() const override {
    const std::lock_guard lock(mutex);
    return current_notice;
  }
  void say(std::optional<NoticeInfo> notice) {
    const std::lock_guard lock(mutex);
    current_notice = std::move(notice);
  }
  void journal(const SessionEvent& event) override {
    const std::lock_guard lock(mutex);
    events.push_back(event);
  }
  void agent_presence(const AgentInfo& agent, bool is_online) override {
    const std::lock_guard lock(mutex);
    online[agent.endpoint] = is_online;
  }
  void open_refused(const SessionId&, const Error& why) override {
    const std::lock_guard lock(mutex);
    refusals.push_back(why);
  }
  std::string bury(const SessionId& id) {
    const auto stone = access::sign_tombstone({site, id, "ended by test", net::wall_now()}, key);
    const std::lock_guard lock(mutex);
    tombstones[id] = stone;
    return stone;
  }
};

// One site process: relay and recorder.
struct Process {
  Process(TestSite& site, const std::string& folder, std::uint64_t generation) : threads(2) {
    recording::RecorderOptions options;
    options.folder = folder;
    options.site = site.site;
    options.generation = generation;
    options.sync_interval_ms = 5;
    auto opened = recording::Recorder::open(options);
    EXPECT_TRUE(opened) << opened.error().text();
    recorder = std::move(*opened);
    relay = std::make_unique<Relay>(threads, site, recorder.get());
  }
  ~Process() { stop(); }
  void stop() {
    if (!relay) return;
    std::promise<void> done;
    relay->shutdown([&done] { done.set_value(); });
    done.get_future().wait();
    threads.stop();
    relay.reset();
  }
  net::IoThreads threads;
  std::unique_ptr<recording::Recorder> recorder;
  std::unique_ptr<Relay> relay;
};

// The public address of the node: whoever is `current` accepts.
class Door {
 public:
  Door(const net::TlsContext& tls, net::IoThreads& threads)
      : tls_(tls), executor_(threads.executor(0)), scope_(executor_) {
    auto listening = net::listen_tcp({"127.0.0.1", 0});
    EXPECT_TRUE(listening);
    listener_ = std::move(*listening);
    address = net::local_address(listener_.get());
    boost::asio::post(executor_, [this] { scope_.spawn("door", accept()); });
  }
  void close() {
    std::promise<void> done;
    boost::asio::post(executor_, [this, &done] {
      scope_.cancel();
      boost::asio::co_spawn(executor_, join(done), [](const std::exception_ptr&) {});
    });
    done.get_future().wait();
  }
  std::atomic<Process*> current = nullptr;
  net::Address address;

 private:
  net::Task<void> join(std::promise<void>& done) {
    co_await scope_.join();
    done.set_value();
  }
  net::Task<void> accept() {
    for (;;) {
      auto taken = co_await net::accept_tcp(listener_.get());
      if (!taken) co_return;
      scope_.spawn("handshake", shake(std::move(*taken)));
    }
  }
  net::Task<void> shake(net::Fd tcp) {
    auto link =
        co_await net::tls_accept(tls_, std::move(tcp), net::now() + std::chrono::seconds(5));
    auto* process = current.load();
    if (link && process != nullptr && process->relay)
      process->relay->serve(std::move(*link), {}, next_++);
  }
  const net::TlsContext& tls_;
  net::Executor executor_;
  net::TaskScope scope_;
  net::Fd listener_;
  unsigned next_ = 0;
};

inline char pattern(std::uint64_t offset, std::uint64_t salt) {
  SeededRandom random(offset / 8 * 31 + salt);
  return static_cast<char>(random.next() >> offset % 8 * 8);
}

// A link driven by hand: each call waits for what it asks.
class RawLink {
 public:
  RawLink(net::Executor executor, const net::TlsContext& tls, net::Address door)
      : executor_(executor), tls_(tls), door_(std::move(door)) {}
  // Connects and says Hello; false if the node refused.
  bool open(pb::Hello::Kind kind, std::uint32_t wire_min = 1) {
    return run([this, kind, wire_min](std::promise<bool>& done) {
      return open_task(kind, wire_min, done);
    });
  }
  [[nodiscard]] std::string exporter() const {
    return link_->exporter(wire::kExporterLabel, access::kExporterBytes);
  }
  // Sends bytes and gives the next control message but heartbeats; empty: the link ended.
  pb::LinkMessage ask(const std::string& bytes) {
    (void)run([this, bytes](std::promise<bool>& done) { return ask_task(bytes, done); });
    return reply_;
  }
  pb::LinkMessage next() { return ask({}); }
  static std::string frame(const pb::LinkMessage& message) {
    std::string out;
    wire::append_frame(out, wire::Control{message.SerializeAsString()});
    return out;
  }
  pb::LinkMessage hello_reply;

 private:
  template <class Start>
  bool run(Start start) {
    std::promise<bool> done;
    boost::asio::co_spawn(executor_, start(done), [](const std::exception_ptr& failed) {
      if (failed) std::rethrow_exception(failed);
    });
    return done.get_future().get();
  }
  net::Task<void> open_task(pb::Hello::Kind kind, std::uint32_t wire_min,
                            std::promise<bool>& done) {
    const auto deadline = net::now() + std::chrono::seconds(10);
    auto link = co_await net::tls_connect(tls_, door_, door_.host, deadline);
    if (!link) {
      done.set_value(false);
      co_return;
    }
    link_ = std::move(*link);
    pb::LinkMessage hello;
    hello.mutable_hello()->set_kind(kind);
    hello.mutable_hello()->set_wire_min(wire_min);
    hello.mutable_hello()->set_wire_max(wire_min);
    auto bytes = frame(hello);
    const auto wrote = co_await net::write_all(*link_, std::move(bytes), deadline);
    const auto reply = co_await net::read_control(*link_, early_, 65536, deadline);
    const bool ok = wrote && reply && hello_reply.ParseFromString(*reply);
    done.set_value(ok && !hello_reply.hello_reply().has_refuse());
  }
  net::Task<void> ask_task(std::string bytes, std::promise<bool>& done) {
    const auto deadline = net::now() + std::chrono::seconds(10);
    reply_.Clear();
    const auto wrote = co_await net::write_all(*link_, std::move(bytes), deadline);
    const auto reply = co_await net::read_control(*link_, early_, 65536, deadline);
    done.set_value(wrote && reply && reply_.ParseFromString(*reply));
  }
  net::Executor executor_;
  const net::TlsContext& tls_;
  net::Address door_;
  std::unique_ptr<net::Transport> link_;
  std::string early_;
  pb::LinkMessage reply_;
};

struct EndOptions {
  relay_end::Side side = relay_end::Side::console;
  SessionId session;
  std::string grant;  // SignedGrant
  const SigningKey* key = nullptr;
  std::uint64_t total = 0;  // Bytes to send on channel 1, then FIN
  std::size_t step = 512;   // Each 2 ms
  bool reads = true;
  std::string kind = "exec";
};

// One end: SessionEnd over TLS. All on one executor.
class TestEnd {
 public:
  TestEnd(net::Executor executor, const net::TlsContext& tls, net::Address door, TestSite& site,
          Watch& watch, EndOptions options)
      : executor_(executor),
        tls_(tls),
        door_(std::move(door)),
        watch_(watch),
        options_(std::move(options)),
        scope_(executor) {
    relay_end::SessionOptions session;
    session.side = options_.side;
    session.session_id = options_.session.raw();
    session.site_key = site.key.public_key();
    session.orders.candidates = {{door_.host, door_.port, {}}};
    session.orders.redial_spread = std::chrono::milliseconds(5);
    session.seed = 7;
    end_ = std::make_unique<relay_end::SessionEnd>(std::move(session), net::now());
    boost::asio::post(executor_, [this] {
      end_->start(net::now());
      if (options_.side == relay_end::Side::console) open_channel();
      pump();
      scope_.spawn("end", run());
    });
  }
  void close() {
    std::promise<void> done;
    boost::asio::post(executor_, [this, &done] {
      stopping_ = true;
      scope_.cancel();
      links_.clear();
      boost::asio::co_spawn(executor_, join(done), [](const std::exception_ptr&) {});
    });
    done.get_future().wait();
  }
  // Breaks the connection without a word.
  void cut() {
    boost::asio::post(executor_, [this] {
      std::vector<std::uint64_t> gone;
      for (const auto& [leg, link] : links_) gone.push_back(leg);
      links_.clear();
      for (const auto leg : gone) end_->leg_failed(leg, net::now());
      pump();
    });
  }
  std::atomic<std::uint64_t> received = 0;
  std::atomic<std::uint64_t> wrong = 0;
  std::atomic<bool> got_fin = false;
  std::atomic<bool> up = false;
  std::atomic<std::uint64_t> generation = 0;
  std::atomic<bool> all_recorded = false;
  std::atomic<std::uint64_t> noticed = 0;  // Losses that nobody told it of.
  [[nodiscard]] std::string ended_code() const {
    const std::lock_guard lock(mutex_);
    return ended_code_;
  }

 private:
  struct Link final : net::FrameLink::Handler {
    Link(TestEnd& e, std::uint64_t l, std::unique_ptr<net::Transport> t, std::string early)
        : end(e), leg(l), link(e.executor_, std::move(t), *this, std::move(early)) {}
    void on_frame(const wire::Frame& frame, std::string_view) override {
      if (const auto* ping = std::get_if<wire::Ping>(&frame)) link.send(wire::Pong{ping->token});
      end.end_->leg_frame(leg, frame, net::now());
    }
    void on_read_batch_end() override { end.pump(); }
    void on_closed(const Error&) override {
      TestEnd& owner = end;
      const auto mine = leg;
      owner.links_.erase(mine);
      owner.end_->leg_failed(mine, net::now());
      owner.pump();
    }
    TestEnd& end;
    std::uint64_t leg;
    net::FrameLink link;
  };

  net::Task<void> join(std::promise<void>& done) {
    co_await scope_.join();
    done.set_value();
  }
  net::Task<void> run() {
    while (!stopping_) {
      const bool go_on = co_await net::sleep_for(std::chrono::milliseconds(2));
      if (!go_on || stopping_) co_return;
      end_->tick(net::now());
      write_more();
      pump();
    }
  }
  net::Task<void> dial(relay_end::Dial to) {
    const auto deadline = net::now() + std::chrono::seconds(5);
    auto link = co_await net::tls_connect(tls_, door_, door_.host, deadline);
    std::string early;
    bool ok = link.has_value();
    if (ok) {
      pb::LinkMessage hello;
      hello.mutable_hello()->set_kind(pb::Hello::KIND_LEG);
      hello.mutable_hello()->set_release("test");
      hello.mutable_hello()->set_wire_min(1);
      hello.mutable_hello()->set_wire_max(1);
      auto bytes = frame(hello);
      const auto wrote = co_await net::write_all(**link, std::move(bytes), deadline);
      const auto reply = co_await net::read_control(**link, early, 65536, deadline);
      ok = wrote && reply;
    }
    if (stopping_) co_return;
    if (!ok) {
      end_->leg_failed(to.generation, net::now());
      pump();
      co_return;
    }
    pb::LinkMessage attach;
    auto& a = *attach.mutable_attach();
    (void)a.mutable_grant()->ParseFromString(options_.grant);
    a.set_side(static_cast<pb::Side>(options_.side));
    a.set_generation(to.generation);
    a.set_reason(static_cast<pb::Attach::Reason>(to.reason));
    access::AttachClaim claim;
    claim.session = options_.session;
    claim.side = static_cast<access::AttachSide>(options_.side);
    claim.generation = to.generation;
    const auto proof = access::prove_attach(
        *options_.key, (*link)->exporter(wire::kExporterLabel, access::kExporterBytes), claim);
    if (proof) a.set_proof(*proof);
    auto made = std::make_unique<Link>(*this, to.generation, std::move(*link), std::move(early));
    made->link.send_raw(frame(attach));
    made->link.start();
    links_[to.generation] = std::move(made);
  }
  static std::string frame(const pb::LinkMessage& message) {
    std::string out;
    wire::append_frame(out, wire::Control{message.SerializeAsString()});
    return out;
  }
  void open_channel() {
    (void)end_->add_channel(1, net::now());
    pb::SessionControl control;
    control.mutable_open()->set_channel(1);
    control.mutable_open()->set_kind(options_.kind);
    end_->send_control(control, net::now());
  }
  void write_more() {
    if (end_->ended() || !end_->has_channel(1) || finished_) return;
    std::string bytes;
    const auto salt = static_cast<std::uint64_t>(options_.side);
    for (std::size_t i = 0; i < options_.step && written_ + i < options_.total; ++i)
      bytes.push_back(pattern(written_ + i, salt));
    written_ += end_->write(1, bytes, net::now());
    if (written_ < options_.total) return;
    finished_ = true;
    end_->finish(1, net::now());
  }
  void read_all() {
    if (!options_.reads) return;
    const auto salt = 3 - static_cast<std::uint64_t>(options_.side);
    for (auto bytes = end_->readable(1); !bytes.empty(); bytes = end_->readable(1)) {
      for (std::size_t i = 0; i < bytes.size(); ++i)
        wrong += bytes[i] != pattern(received + i, salt);
      received += bytes.size();
      end_->consume(1, bytes.size(), net::now());
    }
    if (end_->at_end(1)) got_fin = true;
  }
  void pump() {
    if (stopping_) return;
    for (auto actions = end_->take_actions(); !actions.empty(); actions = end_->take_actions())
      for (auto& action : actions) act(action);
    up = end_->connected();
    generation = end_->generation_used();
    noticed = end_->noticed();
    const auto* channel = end_->channel(1);
    // An end forgets a channel only when all it sent is acknowledged, by the recorder too.
    if (finished_) all_recorded = channel == nullptr || channel->recorded() > options_.total;
    watch_.changed();
  }
  void act(relay_end::Action& action) {
    if (auto* dial_to = std::get_if<relay_end::Dial>(&action)) {
      scope_.spawn("dial", dial(*dial_to));
    } else if (auto* send = std::get_if<relay_end::SendFrames>(&action)) {
      if (const auto found = links_.find(send->leg); found != links_.end())
        found->second->link.send_raw(send->bytes);
    } else if (auto* close_leg = std::get_if<relay_end::CloseLeg>(&action)) {
      if (const auto found = links_.find(close_leg->leg); found != links_.end())
        found->second->link.close_after_flush(std::chrono::seconds(1));
    } else if (auto* control = std::get_if<relay_end::ControlMessage>(&action)) {
      pb::SessionControl message;
      if (message.ParseFromString(control->bytes) && message.has_open())
        (void)end_->add_channel(message.open().channel(), net::now());
    } else if (auto* over = std::get_if<relay_end::Ended>(&action)) {
      const std::lock_guard lock(mutex_);
      ended_code_ = over->code;
    }
    if (end_->has_channel(1)) read_all();
  }

  net::Executor executor_;
  const net::TlsContext& tls_;
  net::Address door_;
  Watch& watch_;
  EndOptions options_;
  net::TaskScope scope_;
  std::unique_ptr<relay_end::SessionEnd> end_;
  std::map<std::uint64_t, std::unique_ptr<Link>> links_;
  std::uint64_t written_ = 0;
  bool finished_ = false;
  bool stopping_ = false;
  mutable std::mutex mutex_;
  std::string ended_code_;
};

}  // namespace everspan::relay::testing
