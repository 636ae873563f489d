// For host_test.cc: a session-host's parts on this thread's loop, a small node that forwards
// frames, an agent in front of it, and a console's end.
#pragma once
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <filesystem>
#include <map>

#include "agent/host_server.h"
#include "agent/host_session.h"
#include "net/frame_link.h"
#include "net/socket.h"
#include "net/transport.h"
#include "proto/host.pb.h"
#include "proto/link.pb.h"

namespace everspan::agent {

class HostWorld : public testing::Test,
                  public relay_legs::EndDriver::Application,
                  public relay_legs::EndDriver::Dialer {
 protected:
  using EndDriver = relay_legs::EndDriver;

  // One leg at the node: forwards what comes to the other side's newest leg, and "records" at once.
  struct NodeLeg : net::FrameLink::Handler {
    NodeLeg(HostWorld& w, int s, std::uint64_t g, std::unique_ptr<net::Transport> t)
        : world(w), side(s), generation(g), link(w.loop_.get_executor(), std::move(t), *this) {}
    void on_frame(const wire::Frame& frame, std::string_view raw) override {
      if (const auto* ping = std::get_if<wire::Ping>(&frame))
        return link.send(wire::Pong{ping->token});
      if (const auto* control = std::get_if<wire::Control>(&frame))
        return world.on_end_control(control->message);
      if (const auto* data = std::get_if<wire::Data>(&frame))
        link.send(wire::Recorded{data->channel, data->offset + data->payload.size()});
      if (NodeLeg* other = world.legs_[1 - side].get()) other->link.send_raw(raw);
    }
    void on_closed(const Error&) override {}
    void say(const pb::LinkMessage& message) {
      const std::string bytes = message.SerializeAsString();
      link.send(wire::Control{bytes});
    }
    HostWorld& world;
    int side;
    std::uint64_t generation;
    net::FrameLink link;
  };
  // The agent's connection to the host: brings legs when asked.
  struct Agent : net::FrameLink::Handler {
    Agent(HostWorld& w, std::unique_ptr<net::Transport> t)
        : world(w), link(w.loop_.get_executor(), std::move(t), *this) {}
    void on_frame(const wire::Frame& frame, std::string_view) override {
      pb::HostMessage message;
      message.ParseFromString(std::string(std::get<wire::Control>(frame).message));
      if (message.has_dial())
        world.tasks_.spawn("leg",
                           world.bring_leg(message.dial().generation(), message.dial().reason()));
    }
    void on_closed(const Error&) override {}
    HostWorld& world;
    net::FrameLink link;
  };

  HostWorld() : tasks_(loop_.get_executor()) {
    std::string name = (std::filesystem::temp_directory_path() / "everspan-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~HostWorld() override { std::filesystem::remove_all(folder_); }

  void begin(std::vector<std::string> rights) {
    auto listener = net::listen_unix(path());
    ASSERT_TRUE(listener);
    server_ =
        std::make_unique<HostServer>(loop_.get_executor(), std::move(*listener), getuid(), "");
    CheckedGrant grant{.session_id = std::string(16, 's'), .rights = std::move(rights)};
    relay_end::SessionOptions options{
        .side = relay_end::Side::agent, .session_id = grant.session_id, .ttl = ttl_};
    options.orders.candidates = {{"node", 1, ""}};
    host_ = std::make_unique<HostSession>(loop_.get_executor(), grant, options, *server_,
                                          [this](std::string code) {
                                            host_ended_ = true;
                                            host_end_code_ = std::move(code);
                                          });
    server_->serve(host_->driver());
    host_->driver().start();
    options.side = relay_end::Side::console;
    console_ = std::make_unique<EndDriver>(loop_.get_executor(), options, *this, *this);
    tasks_.spawn("agent", start_agent());
    console_->start();
  }
  void TearDown() override {
    if (!host_) return;
    if (!stopped_) tasks_.spawn("stop", stop());
    EXPECT_TRUE(run_until([this] { return stopped_; }));
    legs_ = {};
    old_legs_.clear();
    agent_.reset();
    console_.reset();
    loop_.restart();
    loop_.poll();
  }
  net::Task<void> stop() {
    co_await host_->stop();
    co_await server_->stop();
    stopped_ = true;
  }

  [[nodiscard]] std::string path() const { return folder_ + "/host-1.sock"; }
  net::Task<void> start_agent() {
    auto socket = co_await net::connect_unix(path(), net::now() + std::chrono::seconds(5));
    if (!socket) co_return;
    agent_ = std::make_unique<Agent>(*this, net::plain_transport(std::move(*socket)));
    agent_->link.start();
    pb::HostMessage hello;
    hello.mutable_agent()->set_version(1);
    const std::string bytes = hello.SerializeAsString();
    agent_->link.send(wire::Control{bytes});
  }
  net::Task<void> bring_leg(std::uint64_t generation, int reason) {
    auto socket = co_await net::connect_unix(path(), net::now() + std::chrono::seconds(5));
    if (!socket) co_return;
    auto transport = net::plain_transport(std::move(*socket));
    pb::HostMessage hello;
    hello.mutable_leg()->set_generation(generation);
    const std::string body = hello.SerializeAsString();
    std::string frame;
    wire::append_frame(frame, wire::Control{body});
    const Instant deadline = net::now() + std::chrono::seconds(5);
    const auto written = co_await net::write_all(*transport, std::move(frame), deadline);
    if (written) attach(1, generation, reason, std::move(transport));
  }
  void dial(const relay_end::Dial& dial) override {  // The console's.
    std::array<int, 2> pair{};
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair.data()), 0);
    console_->adopt(dial.generation, net::plain_transport(net::Fd(pair[0])), "");
    attach(0, dial.generation, static_cast<int>(dial.reason),
           net::plain_transport(net::Fd(pair[1])));
  }
  void attach(int side, std::uint64_t generation, int reason,
              std::unique_ptr<net::Transport> transport) {
    if (legs_[side]) old_legs_.push_back(std::move(legs_[side]));
    legs_[side] = std::make_unique<NodeLeg>(*this, side, generation, std::move(transport));
    legs_[side]->link.start();
    pb::LinkMessage message;
    message.mutable_attached()->set_generation(generation);
    message.mutable_attached()->set_peer_attached(legs_[1 - side] != nullptr);
    legs_[side]->say(message);
    if (!legs_[1 - side]) return;
    pb::LinkMessage news;
    news.mutable_peer_attached()->set_lost(reason == 2);
    legs_[1 - side]->say(news);
  }
  void cut(int side) {
    if (!legs_[side]) return;
    legs_[side]->link.close();
    old_legs_.push_back(std::move(legs_[side]));
  }
  void on_end_control(std::string_view bytes) {
    pb::LinkMessage message;
    if (!message.ParseFromString(std::string(bytes)) || !message.has_end_request()) return;
    end_requested_ = message.end_request().reason();
    pb::Tombstone tombstone;
    tombstone.set_session_id(std::string(16, 's'));
    pb::LinkMessage ended;
    ended.mutable_ended()->set_tombstone(tombstone.SerializeAsString());
    for (auto& leg : legs_)
      if (leg) leg->say(ended);
  }

  // ---- The console's application: keeps what comes ----
  void on_readable(std::uint32_t channel) override {
    auto& session = console_->session();
    const std::string bytes(session.readable(channel));
    if (!paused_) output_[channel] += bytes;
    if (!paused_) session.consume(channel, bytes.size(), net::now());
    ended_[channel] = session.at_end(channel);
    console_->pump();
  }
  void on_writable(std::uint32_t) override {}
  void on_control(const std::string& bytes) override {
    pb::SessionControl message;
    ASSERT_TRUE(message.ParseFromString(bytes));
    if (message.has_exit()) exit_ = message.exit();
    if (message.has_opened()) opened_.push_back(message.opened().channel());
  }
  void on_channel_gone(std::uint32_t channel, const std::string& code,
                       const std::string&) override {
    gone_[channel] = code;
    ended_[channel] = true;
  }
  void on_leg(bool) override {}
  void on_ended(const std::string& code, const std::string&) override { console_ended_ = code; }

  void open(const pb::OpenChannel& request) {
    ASSERT_TRUE(console_->session().add_channel(request.channel(), net::now()));
    pb::SessionControl message;
    *message.mutable_open() = request;
    console_->session().send_control(message, net::now());
    console_->pump();
  }
  static pb::OpenChannel command(std::vector<std::string> argv) {
    pb::OpenChannel request;
    request.set_channel(1);
    request.set_kind("exec");
    for (auto& word : argv) request.add_argv(std::move(word));
    return request;
  }
  std::size_t type(std::uint32_t channel, std::string_view bytes) {
    const std::size_t taken = console_->session().write(channel, bytes, net::now());
    console_->pump();
    return taken;
  }
  void close_input(std::uint32_t channel) {
    console_->session().finish(channel, net::now());
    console_->pump();
  }
  void control(const pb::SessionControl& message) {
    console_->session().send_control(message, net::now());
    console_->pump();
  }
  template <class Condition>
  bool run_until(Condition holds) {  // Asks once a turn: a condition may take something.
    const Instant limit = net::now() + std::chrono::seconds(20);
    bool held = holds();
    while (!held && net::now() < limit) {
      loop_.restart();
      loop_.run_one_for(std::chrono::milliseconds(10));
      held = holds();
    }
    return held;
  }

  net::asio::io_context loop_{1};
  net::TaskScope tasks_;
  std::string folder_;
  std::unique_ptr<HostServer> server_;
  std::unique_ptr<HostSession> host_;
  std::unique_ptr<EndDriver> console_;
  std::unique_ptr<Agent> agent_;
  std::array<std::unique_ptr<NodeLeg>, 2> legs_;
  std::vector<std::unique_ptr<NodeLeg>> old_legs_;
  std::map<std::uint32_t, std::string> output_;
  std::map<std::uint32_t, bool> ended_;
  std::map<std::uint32_t, std::string> gone_;
  std::vector<std::uint32_t> opened_;
  std::optional<pb::Exit> exit_;
  std::string end_requested_;
  std::string console_ended_;
  bool paused_ = false;
  bool host_ended_ = false;
  std::string host_end_code_;
  Duration ttl_ = std::chrono::minutes(15);
  bool stopped_ = false;
};

}  // namespace everspan::agent
