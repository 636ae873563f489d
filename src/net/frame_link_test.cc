#include "net/frame_link.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <functional>
#include <optional>
#include <thread>

#include "common/random.h"
#include "net/io_threads.h"
#include "net/socket.h"
#include "net/testing_certificates.h"
#include "net/testing_run.h"
#include "net/tls.h"

namespace everspan::net {
namespace {

using testing::run_until;
using testing::soon;

std::pair<Fd, Fd> socket_pair() {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

struct Recorder : FrameLink::Handler {
  std::string raw;  // Everything, header included.
  std::size_t frames = 0;
  int batches = 0;
  int writable = 0;
  int closed = 0;
  Error why;
  std::function<void(const wire::Frame&)> each;

  void on_frame(const wire::Frame& frame, std::string_view bytes) override {
    raw += bytes;
    frames++;
    if (each) each(frame);
  }
  void on_read_batch_end() override { batches++; }
  void on_writable() override { writable++; }
  void on_closed(const Error& error) override {
    closed++;
    why = error;
  }
};

std::string data_frame(std::uint64_t offset, std::size_t size, char fill) {
  std::string out;
  wire::append_frame(out, wire::Data{1, false, offset, std::string(size, fill)});
  return out;
}

std::string random_frames(std::uint64_t seed, int count) {
  SeededRandom random(seed);
  std::string out;
  std::uint64_t offset = 0;
  for (int i = 0; i < count; i++) {
    const std::uint64_t kind = random.below(10);
    if (kind == 0) {
      wire::append_frame(out, wire::Ack{1, offset, offset + 100});
    } else if (kind == 1) {
      wire::append_frame(out, wire::Barrier{});
    } else {
      const std::size_t limit = kind < 4 ? wire::kPayloadBytesMax : 300;
      const std::size_t size = random.between(1, limit);
      out += data_frame(offset, size, static_cast<char>(random.next()));
      offset += size;
    }
  }
  return out;
}

// A pair of connected transports: plain, or TLS over TCP.
struct Pair {
  std::unique_ptr<Transport> a;
  std::unique_ptr<Transport> b;
};

Pair plain_pair() {
  auto [a, b] = socket_pair();
  return {plain_transport(std::move(a)), plain_transport(std::move(b))};
}

Task<void> accept_into(const TlsContext& context, Fd fd, std::unique_ptr<Transport>& out) {
  auto made = co_await tls_accept(context, std::move(fd), soon());
  if (made) out = std::move(*made);
}
Task<void> connect_into(const TlsContext& context, Address to, std::unique_ptr<Transport>& out) {
  auto made = co_await tls_connect(context, std::move(to), "127.0.0.1", soon());
  if (made) out = std::move(*made);
}
Task<void> accept_tls(const TlsContext& context, int listener, std::unique_ptr<Transport>& out) {
  auto tcp = co_await accept_tcp(listener);
  if (tcp) co_await accept_into(context, std::move(*tcp), out);
}

Pair tls_pair(asio::io_context& loop) {
  const auto root = testing::make_certificate("root");
  const auto leaf = testing::make_certificate("leaf", &root, "IP:127.0.0.1");
  const auto server = TlsContext::server({.certificate_chain_pem = leaf.pem(),
                                          .private_key_pem = leaf.key.pem(),
                                          .records_per_key = 50});
  const auto client = TlsContext::client({.ca_pem = root.pem()});
  const auto listener = listen_tcp({"127.0.0.1", 0});
  Pair out;
  if (!server || !client || !listener) return out;
  TaskScope scope(loop.get_executor());
  scope.spawn("server", accept_tls(*server, listener->get(), out.a));
  scope.spawn("client", connect_into(*client, local_address(listener->get()), out.b));
  EXPECT_TRUE(run_until(loop, [&] { return scope.running() == 0; }));
  return out;
}

class FrameLinkOver : public ::testing::TestWithParam<bool> {
 protected:
  Pair make_pair() { return GetParam() ? tls_pair(loop_) : plain_pair(); }
  asio::io_context loop_;
};

TEST_P(FrameLinkOver, FramesOfAllSizesArriveInOrderBothWays) {
  Pair pair = make_pair();
  ASSERT_TRUE(pair.a && pair.b);
  Recorder at_a;
  Recorder at_b;
  FrameLink a(loop_.get_executor(), std::move(pair.a), at_a);
  FrameLink b(loop_.get_executor(), std::move(pair.b), at_b);
  a.start();
  b.start();
  const std::string there = random_frames(1, 400);
  const std::string back = random_frames(2, 400);
  // In slices that cut frames anywhere.
  SeededRandom random(3);
  for (std::size_t i = 0; i < there.size();) {
    const std::size_t size = std::min<std::size_t>(random.between(1, 50'000), there.size() - i);
    a.send_raw(std::string_view(there).substr(i, size));
    i += size;
    loop_.restart();
    loop_.poll_one();
  }
  b.send_raw(back);
  EXPECT_TRUE(run_until(
      loop_, [&] { return at_b.raw.size() == there.size() && at_a.raw.size() == back.size(); }));
  EXPECT_TRUE(at_b.raw == there);
  EXPECT_TRUE(at_a.raw == back);
  EXPECT_GT(at_b.batches, 0);
  EXPECT_EQ(at_a.closed + at_b.closed, 0);
  EXPECT_EQ(a.pending_bytes(), 0U);
}

TEST_P(FrameLinkOver, BackPressureHoldsTheSenderAndLetsItGoOn) {
  Pair pair = make_pair();
  ASSERT_TRUE(pair.a && pair.b);
  Recorder at_a;
  Recorder at_b;
  FrameLink a(loop_.get_executor(), std::move(pair.a), at_a);
  FrameLink b(loop_.get_executor(), std::move(pair.b), at_b);
  a.start();
  b.start();
  b.pause_reading();
  std::string expected;
  std::uint64_t offset = 0;
  const auto fill = [&] {
    while (!a.above_high_water()) {
      const std::string frame = data_frame(offset, 60'000, 'x');
      offset += 60'000;
      expected += frame;
      a.send_raw(frame);
    }
  };
  // Until the kernel's buffers are full too.
  for (int i = 0; i < 200; i++) {
    fill();
    loop_.restart();
    loop_.poll();
  }
  EXPECT_TRUE(a.above_high_water());
  EXPECT_EQ(at_b.frames, 0U);
  const int before = at_a.writable;
  b.resume_reading();
  EXPECT_TRUE(run_until(loop_, [&] { return at_b.raw.size() == expected.size(); }));
  EXPECT_TRUE(at_b.raw == expected);
  EXPECT_TRUE(run_until(loop_, [&] { return at_a.writable == before + 1; }));
}

TEST_P(FrameLinkOver, PausingInTheMiddleOfABatchKeepsTheRest) {
  Pair pair = make_pair();
  ASSERT_TRUE(pair.a && pair.b);
  Recorder at_a;
  Recorder at_b;
  FrameLink a(loop_.get_executor(), std::move(pair.a), at_a);
  FrameLink b(loop_.get_executor(), std::move(pair.b), at_b);
  at_b.each = [&](const wire::Frame&) { b.pause_reading(); };
  a.start();
  b.start();
  const std::string frames = random_frames(7, 100);
  a.send_raw(frames);
  for (std::size_t i = 1; i <= 100; i++) {
    ASSERT_TRUE(run_until(loop_, [&] { return at_b.frames >= i; }));
    loop_.poll();
    ASSERT_EQ(at_b.frames, i);
    b.resume_reading();
  }
  EXPECT_TRUE(at_b.raw == frames);
}

TEST_P(FrameLinkOver, AnOrderlyCloseIsToldOnceWithAllFramesBefore) {
  Pair pair = make_pair();
  ASSERT_TRUE(pair.a && pair.b);
  Recorder at_a;
  Recorder at_b;
  FrameLink a(loop_.get_executor(), std::move(pair.a), at_a);
  FrameLink b(loop_.get_executor(), std::move(pair.b), at_b);
  a.start();
  b.start();
  const std::string frames = random_frames(9, 50);
  a.send_raw(frames);
  a.close_after_flush(testing::kTestLimit);
  // What B sends now is read away, and must not reset the connection under A's last words.
  b.send_raw(random_frames(10, 20));
  EXPECT_TRUE(run_until(loop_, [&] { return at_a.closed > 0 && at_b.closed > 0; }));
  EXPECT_TRUE(at_b.raw == frames);
  EXPECT_EQ(at_b.why.code, "closed") << at_b.why.text();
  EXPECT_EQ(at_a.why.code, "closed");
  loop_.restart();
  loop_.poll();
  EXPECT_EQ(at_a.closed, 1);
  EXPECT_EQ(at_b.closed, 1);
}

TEST_P(FrameLinkOver, TheHandlerMayDestroyItsLinkInAnyCallback) {
  for (const bool in_frame : {true, false}) {
    Pair pair = make_pair();
    ASSERT_TRUE(pair.a && pair.b);
    Recorder at_a;
    Recorder at_b;
    FrameLink a(loop_.get_executor(), std::move(pair.a), at_a);
    auto b = std::make_optional<FrameLink>(loop_.get_executor(), std::move(pair.b), at_b);
    if (in_frame) at_b.each = [&](const wire::Frame&) { b.reset(); };
    a.start();
    b->start();
    a.send_raw(random_frames(5, 30));
    if (!in_frame) {
      ASSERT_TRUE(run_until(loop_, [&] { return at_b.frames == 30; }));
      b->send_raw(random_frames(6, 30));
      b.reset();
    }
    EXPECT_TRUE(run_until(loop_, [&] { return at_a.closed == 1; }));
    EXPECT_EQ(at_b.closed, 0);
    EXPECT_EQ(at_b.frames, in_frame ? 1U : 30U);
  }
}

TEST_P(FrameLinkOver, BrokenFramesEndTheLink) {
  Pair pair = make_pair();
  ASSERT_TRUE(pair.a && pair.b);
  Recorder at_a;
  Recorder at_b;
  FrameLink a(loop_.get_executor(), std::move(pair.a), at_a);
  FrameLink b(loop_.get_executor(), std::move(pair.b), at_b);
  a.start();
  b.start();
  a.send(wire::Ping{4});
  a.send_raw(std::string("\xff\xff\xff\xff\x01", 5));
  EXPECT_TRUE(run_until(loop_, [&] { return at_b.closed == 1; }));
  EXPECT_EQ(at_b.frames, 1U);
  EXPECT_EQ(at_b.why.code, "bad_frame");
}

TEST_P(FrameLinkOver, ALinkMovesToAnotherThreadInsideACallback) {
  Pair pair = make_pair();
  ASSERT_TRUE(pair.a && pair.b);
  IoThreads threads(1);
  Recorder at_a;
  Recorder before;
  Recorder after;
  FrameLink a(loop_.get_executor(), std::move(pair.a), at_a);
  auto b = std::make_optional<FrameLink>(loop_.get_executor(), std::move(pair.b), before);
  std::unique_ptr<Transport> moved;
  std::string early;
  before.each = [&](const wire::Frame&) {
    if (before.frames < 10) return;
    moved = b->release(early);
    b.reset();
  };
  a.start();
  b->start();
  const std::string frames = random_frames(11, 60);
  a.send_raw(frames);
  ASSERT_TRUE(run_until(loop_, [&] { return moved != nullptr; }));
  EXPECT_EQ(before.closed, 0);

  std::atomic<std::size_t> received = 0;
  after.each = [&](const wire::Frame&) { received = after.raw.size(); };
  std::optional<FrameLink> on_thread;
  asio::post(threads.executor(0), [&] {
    on_thread.emplace(threads.executor(0), std::move(moved), after, early);
    on_thread->start();
  });
  EXPECT_TRUE(run_until(loop_, [&] { return before.raw.size() + received == frames.size(); }));
  std::atomic<bool> done = false;
  asio::post(threads.executor(0), [&] {
    on_thread.reset();
    done = true;
  });
  EXPECT_TRUE(run_until(loop_, [&] { return done.load(); }));
  EXPECT_EQ(before.frames, 10U);
  EXPECT_TRUE(before.raw + after.raw == frames);
}

INSTANTIATE_TEST_SUITE_P(PlainAndTls, FrameLinkOver, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Tls" : "Plain"; });

TEST(FrameLink, EarlyBytesComeFirstAndACutInsideAFrameIsNoOrderlyEnd) {
  asio::io_context loop;
  Pair pair = plain_pair();
  Recorder seen;
  const std::string frames = random_frames(21, 3);
  const std::string half = data_frame(0, 1000, 'h').substr(0, 500);
  FrameLink link(loop.get_executor(), std::move(pair.a), seen, frames + half.substr(0, 3));
  link.start();
  const std::string rest = half.substr(3);
  const iovec piece{const_cast<char*>(rest.data()), rest.size()};
  ASSERT_EQ(pair.b->write({&piece, 1}).bytes, rest.size());
  pair.b->close();
  ASSERT_TRUE(run_until(loop, [&] { return seen.closed == 1; }));
  EXPECT_TRUE(seen.raw == frames);
  EXPECT_EQ(seen.why.code, "cut");
}

TEST(FrameLink, ABusyLinkDoesNotStarveAnother) {
  asio::io_context loop;
  Pair busy = plain_pair();
  Pair quiet = plain_pair();
  Recorder at_busy;
  Recorder at_quiet;
  Recorder sender;
  FrameLink from(loop.get_executor(), std::move(busy.a), sender);
  FrameLink to(loop.get_executor(), std::move(busy.b), at_busy);
  FrameLink other(loop.get_executor(), std::move(quiet.b), at_quiet);
  at_busy.each = [&](const wire::Frame&) { from.send_raw(data_frame(0, 60'000, 'b')); };
  from.start();
  to.start();
  other.start();
  for (int i = 0; i < 4; i++) from.send_raw(data_frame(0, 60'000, 'b'));
  ASSERT_TRUE(run_until(loop, [&] { return at_busy.frames > 100; }));
  const std::string ping = [] {
    std::string out;
    wire::append_frame(out, wire::Ping{1});
    return out;
  }();
  const iovec piece{const_cast<char*>(ping.data()), ping.size()};
  ASSERT_EQ(quiet.a->write({&piece, 1}).bytes, ping.size());
  const std::size_t before = at_busy.frames;
  ASSERT_TRUE(run_until(loop, [&] { return at_quiet.frames == 1; }));
  EXPECT_LT(at_busy.frames - before, 200U);
}

}  // namespace
}  // namespace everspan::net
