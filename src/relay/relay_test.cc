#include "relay/relay.h"

#include "relay/relay_test_world.h"

namespace everspan::relay::testing {
namespace {

constexpr std::uint64_t kBytes = 200'000;

class RelayTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/everspan_relay_XXXXXX";
    folder = ::mkdtemp(name);
    const auto authority = access::make_authority("test", net::wall_now());
    ASSERT_TRUE(authority);
    const auto leaf = access::issue_certificate(*authority, {"127.0.0.1"}, net::wall_now());
    ASSERT_TRUE(leaf);
    auto server = net::TlsContext::server(
        {leaf->certificate_pem + authority->certificate_pem, leaf->key_pem, {"everspan/1"}});
    auto client = net::TlsContext::client({authority->certificate_pem, {}, "everspan/1"});
    ASSERT_TRUE(server);
    ASSERT_TRUE(client);
    server_tls = std::make_unique<net::TlsContext>(std::move(*server));
    client_tls = std::make_unique<net::TlsContext>(std::move(*client));
    threads = std::make_unique<net::IoThreads>(1);
    door = std::make_unique<Door>(*server_tls, *threads);
    site.current_orders.candidates = {door->address};
    site.current_orders.heartbeat_ms = 1000;
    site.current_orders.redial_spread_ms = 5;
    old_one = std::make_unique<Process>(site, folder, 1);
    door->current = old_one.get();
  }
  void TearDown() override {
    for (auto& end : ends) end->close();
    door->close();
    old_one.reset();
    new_one.reset();
    threads->stop();
    std::filesystem::remove_all(folder);
  }

  access::GrantClaims claims(const SessionId& session) {
    access::GrantClaims made;
    made.site = site.site;
    made.session = session;
    made.endpoint = site.endpoint;
    made.person = "alice";
    made.console_key = console_key.public_key();
    made.rights = {"exec"};
    made.not_before = {net::wall_now().unix_ms - 1000};
    made.not_after = {net::wall_now().unix_ms + 60'000};
    made.recording = "strict";
    made.ttl_s = 900;
    return made;
  }
  std::string grant(const SessionId& session) {
    const auto made = access::sign_grant(claims(session), site.key);
    EXPECT_TRUE(made);
    return *made;
  }
  TestEnd& add_end(EndOptions options) {
    if (options.key == nullptr)
      options.key = options.side == relay_end::Side::console ? &console_key : &site.agent_key;
    if (options.grant.empty()) options.grant = grant(options.session);
    ends.push_back(std::make_unique<TestEnd>(threads->executor(0), *client_tls, door->address, site,
                                             watch, std::move(options)));
    return *ends.back();
  }
  void add_pair(const SessionId& session, std::uint64_t bytes = kBytes, bool agent_reads = true) {
    EndOptions options;
    options.session = session;
    options.total = bytes;
    console = &add_end(options);
    options.side = relay_end::Side::agent;
    options.reads = agent_reads;
    agent = &add_end(options);
  }
  void join_processes() {
    new_one = std::make_unique<Process>(site, folder, 2);
    bridge(*old_one, *new_one);
  }
  static void bridge(Process& a, Process& b) {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    a.relay->set_peer(net::Fd(fds[0]));
    b.relay->set_peer(net::Fd(fds[1]));
  }
  void move(Process& from, Process& to) {
    door->current = &to;
    from.relay->drain(true);
    to.relay->drain(false);
    std::atomic<bool> done = false;
    from.relay->migrate_all({}, [&](const MoveProgress& progress) {
      last_progress = progress;
      if (progress.left == 0) done = true;
    });
    EXPECT_TRUE(watch.wait([&] { return done.load(); })) << last_progress.left << " left";
  }
  RawLink raw() { return {threads->executor(0), *client_tls, door->address}; }
  std::string attach_bytes(const SessionId& session, std::uint64_t generation,
                           const std::string& exporter) {
    pb::LinkMessage message;
    auto& attach = *message.mutable_attach();
    EXPECT_TRUE(attach.mutable_grant()->ParseFromString(grant(session)));
    attach.set_side(pb::SIDE_CONSOLE);
    attach.set_generation(generation);
    access::AttachClaim claim;
    claim.session = session;
    claim.generation = generation;
    attach.set_proof(access::prove_attach(console_key, exporter, claim).value_or(""));
    return RawLink::frame(message);
  }
  std::string register_bytes(const std::string& exporter, const SigningKey& key) {
    pb::LinkMessage message;
    auto& request = *message.mutable_register_();
    request.set_endpoint_id(site.endpoint.raw());
    request.set_endpoint_key(site.agent_key.public_key());
    request.set_proof(access::prove_register(key, exporter, site.endpoint).value_or(""));
    return RawLink::frame(message);
  }
  void expect_all_delivered() {
    EXPECT_TRUE(watch.wait([&] { return console->got_fin && agent->got_fin; }))
        << console->received << " and " << agent->received;
    EXPECT_EQ(console->received, kBytes);
    EXPECT_EQ(agent->received, kBytes);
    EXPECT_EQ(console->wrong, 0U);
    EXPECT_EQ(agent->wrong, 0U);
  }
  void expect_whole_recording(const SessionId& session) {
    EXPECT_TRUE(watch.wait([&] { return console->all_recorded && agent->all_recorded; }));
    const auto report = recording::verify_recording(folder, session);
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_TRUE(report->ok);
    EXPECT_TRUE(report->gaps.empty());
    const auto pieces = recording::read_recording(folder, session);
    ASSERT_TRUE(pieces);
    std::uint64_t next[2] = {0, 0};
    for (const auto& piece : *pieces) {
      if (piece.channel != 1) continue;
      const auto way = static_cast<int>(piece.direction);
      ASSERT_EQ(piece.offset, next[way]);
      for (std::size_t i = 0; i < piece.bytes.size(); ++i)
        ASSERT_EQ(piece.bytes[i], pattern(piece.offset + i, way == 0 ? 1 : 2));
      next[way] += piece.length + (piece.fin ? 1 : 0);
    }
    EXPECT_EQ(next[0], kBytes + 1);
    EXPECT_EQ(next[1], kBytes + 1);
  }

  std::string folder;
  TestSite site;
  Watch watch;
  SigningKey console_key = SigningKey::generate();
  std::unique_ptr<net::TlsContext> server_tls;
  std::unique_ptr<net::TlsContext> client_tls;
  std::unique_ptr<net::IoThreads> threads;
  std::unique_ptr<Door> door;
  std::unique_ptr<Process> old_one;
  std::unique_ptr<Process> new_one;
  std::vector<std::unique_ptr<TestEnd>> ends;
  TestEnd* console = nullptr;
  TestEnd* agent = nullptr;
  MoveProgress last_progress;
};

TEST_F(RelayTest, carries_both_ways_and_records_every_byte) {
  const auto session = random_id<SessionId>();
  add_pair(session);
  expect_all_delivered();
  expect_whole_recording(session);
}

TEST_F(RelayTest, a_planned_move_to_the_new_process_loses_and_repeats_nothing) {
  const auto session = random_id<SessionId>();
  add_pair(session);
  ASSERT_TRUE(watch.wait([&] { return console->received > 5000 && agent->received > 5000; }));
  join_processes();
  move(*old_one, *new_one);
  EXPECT_EQ(last_progress.lost, 0U);
  EXPECT_EQ(last_progress.moved, 2U);
  EXPECT_TRUE(watch.wait([&] { return old_one->relay->session_count() == 0; }));
  expect_all_delivered();
  expect_whole_recording(session);
}

TEST_F(RelayTest, sessions_move_there_and_back_again) {
  const auto session = random_id<SessionId>();
  add_pair(session);
  ASSERT_TRUE(watch.wait([&] { return console->received > 5000; }));
  join_processes();
  move(*old_one, *new_one);
  move(*new_one, *old_one);
  expect_all_delivered();
  expect_whole_recording(session);
}

TEST_F(RelayTest, no_frame_passes_the_answer_of_the_other_process) {  // P9
  constexpr int kPairs = 20;
  for (int i = 0; i < kPairs; ++i) add_pair(random_id<SessionId>(), 1 << 30);
  const auto all_flow = [&] {
    return std::ranges::all_of(ends, [](const auto& end) { return end->received > 5000; });
  };
  ASSERT_TRUE(watch.wait(all_flow));
  join_processes();
  for (int round = 0; round < 5; ++round) {
    move(*old_one, *new_one);
    move(*new_one, *old_one);
  }
  std::uint64_t noticed = 0;
  for (const auto& end : ends) {
    EXPECT_EQ(end->wrong, 0U);
    noticed += end->noticed;
  }
  EXPECT_EQ(noticed, 0U) << "frames were lost without a word and had to be asked for";
}

TEST_F(RelayTest, the_old_process_dies_while_sessions_move) {
  const auto session = random_id<SessionId>();
  add_pair(session);
  ASSERT_TRUE(watch.wait([&] { return console->received > 5000; }));
  join_processes();
  door->current = new_one.get();
  old_one->relay->drain(true);
  old_one->relay->migrate_all({}, {});
  ASSERT_TRUE(watch.wait([&] { return new_one->relay->session_count() == 1; }));
  old_one->stop();
  expect_all_delivered();
  expect_whole_recording(session);
}

TEST_F(RelayTest, the_new_process_dies_after_the_move_and_the_old_one_takes_over_again) {
  const auto session = random_id<SessionId>();
  add_pair(session);
  ASSERT_TRUE(watch.wait([&] { return console->received > 5000; }));
  join_processes();
  move(*old_one, *new_one);
  door->current = old_one.get();
  old_one->relay->drain(false);
  new_one->stop();
  expect_all_delivered();
  expect_whole_recording(session);
}

TEST_F(RelayTest, ends_that_lose_their_connections_resume) {
  const auto session = random_id<SessionId>();
  add_pair(session);
  ASSERT_TRUE(watch.wait([&] { return console->received > 5000; }));
  console->cut();
  ASSERT_TRUE(watch.wait([&] { return console->received > 20000; }));
  agent->cut();
  console->cut();
  expect_all_delivered();
  expect_whole_recording(session);
}

TEST_F(RelayTest, a_forged_grant_is_refused) {
  const auto session = random_id<SessionId>();
  EndOptions options;
  options.session = session;
  const auto stranger = SigningKey::generate();
  options.grant = *access::sign_grant(claims(session), stranger);
  const auto& end = add_end(options);
  EXPECT_TRUE(watch.wait([&] { return end.ended_code() == "bad_grant"; })) << end.ended_code();
}

TEST_F(RelayTest, a_console_without_the_grants_key_is_refused) {
  const auto stranger = SigningKey::generate();
  EndOptions options;
  options.session = random_id<SessionId>();
  options.key = &stranger;
  const auto& end = add_end(options);
  EXPECT_TRUE(watch.wait([&] { return end.ended_code() == "bad_proof"; })) << end.ended_code();
}

TEST_F(RelayTest, an_ended_session_takes_no_leg) {
  EndOptions options;
  options.session = random_id<SessionId>();
  site.bury(options.session);
  const auto& end = add_end(options);
  EXPECT_TRUE(watch.wait([&] { return end.ended_code() == "ended"; })) << end.ended_code();
}

TEST_F(RelayTest, ending_a_session_tells_both_ends_wherever_they_are) {
  const auto session = random_id<SessionId>();
  add_pair(session, 1'000'000'000);
  ASSERT_TRUE(watch.wait([&] { return console->received > 5000; }));
  join_processes();
  door->current = new_one.get();
  agent->cut();
  ASSERT_TRUE(watch.wait([&] { return new_one->relay->session_count() == 1; }));
  new_one->relay->end_session(session, site.bury(session));
  EXPECT_TRUE(watch.wait([&] { return console->ended_code() == "ended"; }));
  EXPECT_TRUE(watch.wait([&] { return agent->ended_code() == "ended"; }));
  EXPECT_TRUE(watch.wait([&] {
    return old_one->relay->session_count() == 0 && new_one->relay->session_count() == 0;
  }));
}

TEST_F(RelayTest, attach_bytes_replayed_on_another_connection_are_refused) {
  const auto session = random_id<SessionId>();
  auto first = raw();
  ASSERT_TRUE(first.open(pb::Hello::KIND_LEG));
  const auto bytes = attach_bytes(session, 1, first.exporter());
  EXPECT_TRUE(first.ask(bytes).has_attached());
  auto second = raw();
  ASSERT_TRUE(second.open(pb::Hello::KIND_LEG));
  EXPECT_EQ(second.ask(bytes).refuse().code(), "bad_proof");
}

TEST_F(RelayTest, a_lower_generation_is_refused_and_a_higher_one_supersedes) {
  const auto session = random_id<SessionId>();
  auto first = raw();
  ASSERT_TRUE(first.open(pb::Hello::KIND_LEG));
  EXPECT_TRUE(first.ask(attach_bytes(session, 5, first.exporter())).has_attached());
  auto lower = raw();
  ASSERT_TRUE(lower.open(pb::Hello::KIND_LEG));
  EXPECT_EQ(lower.ask(attach_bytes(session, 5, lower.exporter())).refuse().code(), "superseded");
  auto higher = raw();
  ASSERT_TRUE(higher.open(pb::Hello::KIND_LEG));
  EXPECT_TRUE(higher.ask(attach_bytes(session, 6, higher.exporter())).has_attached());
  EXPECT_EQ(first.next().refuse().code(), "superseded");
}

TEST_F(RelayTest, a_link_of_a_protocol_to_come_is_told_which_release_is_missing) {
  auto link = raw();
  EXPECT_FALSE(link.open(pb::Hello::KIND_LEG, 99));
  EXPECT_EQ(link.hello_reply.hello_reply().refuse().code(), "wire_range");
}

TEST_F(RelayTest, a_console_that_knows_notices_is_told_at_its_attach_and_when_they_change) {
  site.say(NoticeInfo{.text = "Back at 5"});
  const auto session = random_id<SessionId>();
  auto link = raw();
  ASSERT_TRUE(link.open(pb::Hello::KIND_LEG, wire::kWireNotice));
  EXPECT_EQ(link.hello_reply.hello_reply().wire(), wire::kWireNotice);
  EXPECT_TRUE(link.ask(attach_bytes(session, 1, link.exporter())).has_attached());
  EXPECT_EQ(link.next().notice().text(), "Back at 5");
  site.say(NoticeInfo{.text = "Back at 6", .level = "warning"});
  old_one->relay->broadcast_notice();
  const auto changed = link.next();
  EXPECT_EQ(changed.notice().text(), "Back at 6");
  EXPECT_EQ(changed.notice().level(), "warning");
  site.say(NoticeInfo{});
  old_one->relay->broadcast_notice();
  const auto taken_back = link.next();
  EXPECT_TRUE(taken_back.has_notice());
  EXPECT_EQ(taken_back.notice().text(), "");
}

TEST_F(RelayTest, nobody_hears_notices_while_the_site_may_not_send_them) {
  const auto session = random_id<SessionId>();
  auto link = raw();
  ASSERT_TRUE(link.open(pb::Hello::KIND_LEG, wire::kWireNotice));
  EXPECT_TRUE(link.ask(attach_bytes(session, 1, link.exporter())).has_attached());
  old_one->relay->broadcast_notice();
  old_one->relay->end_session(session, site.bury(session));
  EXPECT_TRUE(link.next().has_ended());
}

TEST_F(RelayTest, a_console_of_release_0_1_0_is_spoken_to_as_before) {
  site.say(NoticeInfo{.text = "Back at 5"});
  const auto session = random_id<SessionId>();
  auto link = raw();
  ASSERT_TRUE(link.open(pb::Hello::KIND_LEG, 1));
  EXPECT_EQ(link.hello_reply.hello_reply().wire(), 1U);
  EXPECT_TRUE(link.ask(attach_bytes(session, 1, link.exporter())).has_attached());
  old_one->relay->broadcast_notice();
  old_one->relay->end_session(session, site.bury(session));
  EXPECT_TRUE(link.next().has_ended());
}

TEST_F(RelayTest, an_agents_standing_link_brings_it_sessions_also_from_the_other_process) {
  auto agent_link = raw();
  ASSERT_TRUE(agent_link.open(pb::Hello::KIND_AGENT));
  EXPECT_TRUE(
      agent_link.ask(register_bytes(agent_link.exporter(), site.agent_key)).has_registered());
  EXPECT_TRUE(old_one->relay->agent_online(site.endpoint));
  const auto session = random_id<SessionId>();
  ASSERT_TRUE(old_one->relay->open_session(site.endpoint, grant(session)));
  EXPECT_TRUE(agent_link.next().has_open_session());
  join_processes();
  ASSERT_TRUE(watch.wait([&] { return new_one->relay->agent_online(site.endpoint); }));
  ASSERT_TRUE(new_one->relay->open_session(site.endpoint, grant(session)));
  pb::LinkMessage no;
  no.mutable_open_refused()->set_session_id(session.raw());
  no.mutable_open_refused()->mutable_refuse()->set_code("busy");
  ASSERT_TRUE(agent_link.next().has_open_session());
  old_one->relay->migrate_all({}, {});
  EXPECT_TRUE(agent_link.ask(RawLink::frame(no)).has_migrate());
  EXPECT_TRUE(watch.wait([&] {
    const std::lock_guard lock(site.mutex);
    return site.refusals.size() == 2 && site.refusals[0].code == "busy";
  })) << "both processes hear it: either may have asked";
  EXPECT_FALSE(new_one->relay->open_session(random_id<EndpointId>(), grant(session)));
}

TEST_F(RelayTest, an_agent_that_cannot_prove_its_key_is_refused) {
  auto link = raw();
  ASSERT_TRUE(link.open(pb::Hello::KIND_AGENT));
  EXPECT_EQ(link.ask(register_bytes(link.exporter(), console_key)).refuse().code(), "bad_proof");
  EXPECT_FALSE(old_one->relay->agent_online(site.endpoint));
}

TEST_F(RelayTest, an_end_that_reads_nothing_holds_up_no_other_session) {
  const auto slow = random_id<SessionId>();
  add_pair(slow, 1'000'000'000, false);
  ASSERT_TRUE(watch.wait([&] { return console->received > 5000; }));
  const auto session = random_id<SessionId>();
  add_pair(session);
  expect_all_delivered();
}

}  // namespace
}  // namespace everspan::relay::testing
