#include <gtest/gtest.h>
#include <sys/socket.h>

#include "net/frame_link.h"
#include "net/testing_run.h"

namespace everspan::net {
namespace {

using testing::run_until;
using testing::soon;

struct Pair {
  std::unique_ptr<Transport> a;
  std::unique_ptr<Transport> b;
};

Pair plain_pair() {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  return {plain_transport(Fd(ends[0])), plain_transport(Fd(ends[1]))};
}

Task<void> read_hello(Transport& transport, std::string& early, Result<std::string>& out) {
  out = co_await read_control(transport, early, wire::kHelloBytesMax, soon());
}

TEST(ReadControl, TakesTheGreetingAndLeavesWhatCameBehind) {
  asio::io_context loop;
  Pair pair = plain_pair();
  std::string bytes;
  wire::append_frame(bytes, wire::Control{"hello"});
  bytes += "behind";
  const iovec piece{bytes.data(), bytes.size()};
  ASSERT_EQ(pair.a->write({&piece, 1}).bytes, bytes.size());
  std::string early;
  Result<std::string> got = fail("none", "not run");
  TaskScope scope(loop.get_executor());
  scope.spawn("read", read_hello(*pair.b, early, got));
  ASSERT_TRUE(run_until(loop, [&] { return scope.running() == 0; }));
  ASSERT_TRUE(got);
  EXPECT_EQ(*got, "hello");
  EXPECT_EQ(early, "behind");
}

TEST(ReadControl, RefusesALongGreetingAndOtherFramesByTheirHeaderAlone) {
  for (const bool too_long : {true, false}) {
    asio::io_context loop;
    Pair pair = plain_pair();
    std::string bytes;
    put_u32(bytes, too_long ? wire::kHelloBytesMax + 2 : 9);
    bytes += static_cast<char>(too_long ? 0 : 6);
    const iovec piece{bytes.data(), bytes.size()};
    ASSERT_EQ(pair.a->write({&piece, 1}).bytes, bytes.size());
    std::string early;
    Result<std::string> got = fail("none", "not run");
    TaskScope scope(loop.get_executor());
    scope.spawn("read", read_hello(*pair.b, early, got));
    ASSERT_TRUE(run_until(loop, [&] { return scope.running() == 0; }));
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, too_long ? "too_long" : "bad_frame");
  }
}

}  // namespace
}  // namespace everspan::net
