#include "agent/host_test_world.h"

namespace everspan::agent {
namespace {

TEST_F(HostWorld, RunsACommandOnPipesWithItsErrorsApartAndItsStatus) {
  begin({"exec"});
  auto request = command({"/bin/sh", "-c", "cat; echo wrong >&2; exit 7"});
  request.set_error_channel(3);
  open(request);
  ASSERT_TRUE(console_->session().add_channel(3, net::now()));
  close_input(3);
  const std::string bytes("a\0b\r\n\xff", 6);
  EXPECT_EQ(type(1, bytes), bytes.size());
  close_input(1);  // cat ends at its end of input.
  ASSERT_TRUE(run_until([this] { return exit_ && ended_[1] && ended_[3]; }));
  EXPECT_EQ(output_[1], bytes);
  EXPECT_EQ(output_[3], "wrong\n");
  EXPECT_EQ(exit_->status(), 7U);
  EXPECT_EQ(exit_->signal(), "");
}

TEST_F(HostWorld, AsksForTheEndWhenTheConsoleSaidByeAndAllIsDelivered) {
  begin({"exec"});
  open(command({"echo done"}));
  pb::SessionControl bye;
  bye.mutable_bye();
  control(bye);
  ASSERT_TRUE(run_until([this] { return exit_ && ended_[1]; }));
  EXPECT_EQ(output_[1], "done\n");
  EXPECT_EQ(end_requested_, "");
  close_input(1);
  ASSERT_TRUE(run_until([this] { return host_ended_ && !console_ended_.empty(); }));
  EXPECT_EQ(console_ended_, "ended");
}

TEST_F(HostWorld, ATerminalHasASizeChangesItAndEndsWithItsShell) {
  begin({"terminal"});
  pb::OpenChannel request;
  request.set_channel(1);
  request.set_kind("terminal");
  request.set_columns(100);
  request.set_rows(30);
  request.add_argv("/bin/sh");
  request.add_argv("-c");
  request.add_argv("stty size; read x; stty size; tty >/dev/null || exit 1; sleep 60 & exit 3");
  open(request);
  ASSERT_TRUE(run_until([this] { return output_[1].find("30 100") != std::string::npos; }));
  pb::SessionControl resize;
  resize.mutable_resize()->set_channel(1);
  resize.mutable_resize()->set_columns(120);
  resize.mutable_resize()->set_rows(40);
  control(resize);
  type(1, "\r");
  ASSERT_TRUE(run_until([this] { return exit_ && ended_[1]; }));
  EXPECT_NE(output_[1].find("40 120"), std::string::npos);
  EXPECT_EQ(exit_->status(), 3U);
}

TEST_F(HostWorld, ASignalReachesTheProgramAndIsTold) {
  begin({"exec"});
  open(command({"/bin/sh", "-c", "echo up; exec sleep 60"}));
  ASSERT_TRUE(run_until([this] { return output_[1] == "up\n"; }));
  pb::SessionControl signal;
  signal.mutable_signal()->set_channel(1);
  signal.mutable_signal()->set_name("TERM");
  control(signal);
  ASSERT_TRUE(run_until([this] { return exit_.has_value(); }));
  EXPECT_EQ(exit_->signal(), "TERM");
}

TEST_F(HostWorld, WhatTheGrantDoesNotNameIsRefused) {
  begin({"terminal"});
  open(command({"echo no"}));
  ASSERT_TRUE(run_until([this] { return gone_.contains(1); }));
  EXPECT_EQ(gone_[1], "forbidden");
  EXPECT_TRUE(opened_.empty());
}

TEST_F(HostWorld, ACommandThatIsNotThereExitsAsAShellWouldSay) {
  begin({"exec"});
  open(command({"/nonexistent/program", "x"}));
  ASSERT_TRUE(run_until([this] { return exit_.has_value(); }));
  EXPECT_EQ(exit_->status(), 127U);
}

TEST_F(HostWorld, LostLegsOnBothSidesLoseAndRepeatNothing) {
  begin({"exec"});
  open(command({"/bin/cat", "-"}));
  std::string sent;
  for (int i = 0; i < 60; ++i) {
    std::string line = "line " + std::to_string(i) + std::string(500, '.') + "\n";
    const std::size_t want = sent.size() + line.size();
    while (sent.size() < want) {
      const std::size_t taken =
          type(1, std::string_view(line).substr(line.size() - (want - sent.size())));
      sent += line.substr(line.size() - (want - sent.size()), taken);
      loop_.restart();
      loop_.run_one_for(std::chrono::milliseconds(1));
    }
    if (i % 10 == 3) cut(0);
    if (i % 10 == 7) cut(1);
  }
  close_input(1);
  ASSERT_TRUE(run_until([this] { return exit_ && ended_[1]; }));
  EXPECT_EQ(output_[1], sent);
}

TEST_F(HostWorld, AnotherAgentFindsTheHostAndTheSessionGoesOn) {
  begin({"exec"});
  open(command({"/bin/cat", "-"}));
  type(1, "before ");
  ASSERT_TRUE(run_until([this] { return output_[1] == "before "; }));
  agent_->link.close();  // Killed: its connection and its legs break.
  agent_.reset();
  cut(1);
  type(1, "between ");
  loop_.restart();
  loop_.run_for(std::chrono::milliseconds(50));
  EXPECT_EQ(output_[1], "before ");
  tasks_.spawn("agent", start_agent());
  ASSERT_TRUE(run_until([this] { return output_[1] == "before between "; }));
}

// No tombstone can reach it: its own clock bounds what nobody can revoke.
TEST_F(HostWorld, CutOffFromTheSiteForItsTimeToLiveItEndsAndHangsUp) {
  ttl_ = std::chrono::milliseconds(300);
  begin({"exec"});
  open(command({"/bin/sh", "-c", "trap 'exit 0' HUP; echo $$; while :; do sleep 0.05; done"}));
  ASSERT_TRUE(run_until([this] { return output_[1].ends_with('\n'); }));
  const pid_t program = std::stoi(output_[1]);
  agent_->link.close();
  agent_.reset();
  cut(1);
  const Instant cut_off = net::now();
  ASSERT_TRUE(run_until([this] { return host_ended_; }));
  EXPECT_GE(net::now() - cut_off, ttl_);
  EXPECT_EQ(host_end_code_, "ttl");
  EXPECT_EQ(kill(program, 0), 0) << "until the host stops, which is what it does next";
  tasks_.spawn("stop", stop());
  ASSERT_TRUE(run_until([this] { return stopped_; }));
  EXPECT_EQ(kill(program, 0), -1);
}

TEST_F(HostWorld, AProgramThatWritesMoreThanIsTakenWaits) {
  begin({"exec"});
  paused_ = true;
  open(command({"head -c 3000000 /dev/zero"}));
  ASSERT_TRUE(run_until([this] { return console_->session().readable(1).size() >= 256 * 1024; }));
  loop_.restart();
  loop_.run_for(std::chrono::milliseconds(100));
  EXPECT_LE(console_->session().readable(1).size(), 256U * 1024);
  EXPECT_FALSE(exit_);
  paused_ = false;
  on_readable(1);
  ASSERT_TRUE(run_until([this] { return exit_ && ended_[1]; }));
  EXPECT_EQ(output_[1].size(), 3'000'000U);
}

TEST_F(HostWorld, ATunnelClosesItsHalvesOneByOne) {
  begin({"tunnel"});
  auto listener = net::listen_tcp({.host = "127.0.0.1", .port = 0});
  ASSERT_TRUE(listener);
  pb::OpenChannel request;
  request.set_channel(1);
  request.set_kind("tunnel");
  request.set_host("127.0.0.1");
  request.set_port(net::local_address(listener->get()).port);
  open(request);
  type(1, "question");
  close_input(1);
  int peer = -1;
  ASSERT_TRUE(run_until([&] { return (peer = ::accept(listener->get(), nullptr, nullptr)) >= 0; }));
  net::Fd accepted(peer);
  std::string got;
  bool end = false;
  ASSERT_TRUE(run_until([&] {
    std::array<char, 64> buffer{};
    const ssize_t n = ::recv(peer, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n > 0) got.append(buffer.data(), static_cast<std::size_t>(n));
    end = n == 0;
    return end;
  }));
  EXPECT_EQ(got, "question");
  ASSERT_EQ(::send(peer, "answer", 6, MSG_NOSIGNAL), 6);
  accepted.reset();
  ASSERT_TRUE(run_until([this] { return ended_[1] && gone_.contains(1); }));
  EXPECT_EQ(output_[1], "answer");
  EXPECT_EQ(gone_[1], "");
}

TEST_F(HostWorld, ATunnelToNowhereSaysSo) {
  begin({"tunnel"});
  pb::OpenChannel request;
  request.set_channel(1);
  request.set_kind("tunnel");
  request.set_host("127.0.0.1");
  request.set_port(1);
  open(request);
  ASSERT_TRUE(run_until([this] { return gone_.contains(1); }));
  EXPECT_EQ(gone_[1], "connect_failed");
}

}  // namespace
}  // namespace everspan::agent
