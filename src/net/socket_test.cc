#include "net/socket.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "net/frame_link.h"
#include "net/message_socket.h"
#include "net/testing_run.h"
#include "net/transport.h"

namespace everspan::net {
namespace {

using testing::run_task;
using testing::run_until;
using testing::soon;

struct TempFolder {
  TempFolder() {
    char name[] = "/tmp/everspan-net-XXXXXX";
    path = mkdtemp(name);
  }
  ~TempFolder() { std::filesystem::remove_all(path); }
  std::string path;
};

TEST(Address, ReadsWhatItWrites) {
  for (const std::string text : {"127.0.0.1:80", "[::1]:443", "node-1.example.org:8443"}) {
    const auto address = Address::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->text(), text);
  }
}

TEST(Address, RefusesWhatIsNotHostAndPort) {
  for (const std::string text : {"", ":80", "host", "host:", "host:65536", "host:-1", "host:8 0",
                                 "::1:80", "[::1:80", "ho st:80", "host:80x"}) {
    EXPECT_FALSE(Address::parse(text)) << text;
  }
}

TEST(Address, KnowsLoopbackByNumberOnly) {
  EXPECT_TRUE(is_loopback({"127.77.0.1", 1}));
  EXPECT_TRUE(is_loopback({"::1", 1}));
  EXPECT_TRUE(is_loopback({"::ffff:127.0.0.1", 1}));
  EXPECT_FALSE(is_loopback({"10.0.0.1", 1}));
  EXPECT_FALSE(is_loopback({"localhost", 1}));
}

TEST(Tcp, ConnectsAndCarriesBytes) {
  asio::io_context loop;
  const auto listener = listen_tcp({"127.0.0.1", 0});
  ASSERT_TRUE(listener) << listener.error().text();
  const Address at = local_address(listener->get());
  auto client = run_task(loop, connect_tcp(at, soon()));
  ASSERT_TRUE(client) << client.error().text();
  auto server = run_task(loop, accept_tcp(listener->get()));
  ASSERT_TRUE(server);
  EXPECT_EQ(peer_address(server->get()), local_address(client->get()));
  const auto a = plain_transport(std::move(*client));
  const auto b = plain_transport(std::move(*server));
  ASSERT_TRUE(run_task(loop, write_all(*a, "hello", soon())));
  const auto got = run_task(loop, read_some(*b, 100, soon()));
  ASSERT_TRUE(got);
  EXPECT_EQ(*got, "hello");
  a->close();
  const auto end = run_task(loop, read_some(*b, 100, soon()));
  ASSERT_TRUE(end);
  EXPECT_EQ(*end, "");
}

TEST(Tcp, SaysWhenNobodyListens) {
  asio::io_context loop;
  Address at;
  {
    const auto listener = listen_tcp({"127.0.0.1", 0});
    ASSERT_TRUE(listener);
    at = local_address(listener->get());
  }
  const auto client = run_task(loop, connect_tcp(at, soon()));
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code, "unreachable");
}

TEST(Tcp, AReadThatWaitsEndsAtItsDeadline) {
  asio::io_context loop;
  auto pair = MessageSocket::pair();
  ASSERT_TRUE(pair);
  const auto a = plain_transport(pair->first.release());
  const auto got = run_task(loop, read_some(*a, 10, now() + std::chrono::milliseconds(5)));
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, "timeout");
}

TEST(Unix, LongPathsAreReachedAndOnlyTheOwnerEnters) {
  asio::io_context loop;
  const TempFolder temp;
  const std::string path = temp.path + "/" + std::string(120, 'd') + "/control.sock";
  ASSERT_GT(path.size(), 107U);
  const auto listener = listen_unix(path);
  ASSERT_TRUE(listener) << listener.error().text();
  struct stat info{};
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
  const auto client = run_task(loop, connect_unix(path, soon()));
  ASSERT_TRUE(client) << client.error().text();
  const auto server = run_task(loop, accept_unix(listener->get()));
  ASSERT_TRUE(server);
  const auto peer = unix_peer(server->get());
  ASSERT_TRUE(peer);
  EXPECT_EQ(peer->pid, getpid());
  EXPECT_EQ(peer->uid, getuid());
}

TEST(Unix, AFolderThatOthersCanWriteToIsRefused) {
  const TempFolder temp;
  ASSERT_EQ(chmod(temp.path.c_str(), 0777), 0);
  EXPECT_FALSE(listen_unix(temp.path + "/s"));
}

TEST(Unix, AFileThatIsNoSocketIsNotReplaced) {
  const TempFolder temp;
  const std::string path = temp.path + "/data";
  FILE* file = fopen(path.c_str(), "w");
  ASSERT_NE(file, nullptr);
  fclose(file);
  EXPECT_FALSE(listen_unix(path));
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST(MessageSocket, CarriesMessagesWithDescriptors) {
  asio::io_context loop;
  auto pair = MessageSocket::pair();
  ASSERT_TRUE(pair);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Message message;
  message.bytes = "take this";
  message.fds.emplace_back(ends[1]);
  ASSERT_TRUE(run_task(loop, pair->first.send(std::move(message), soon())));
  auto got = run_task(loop, pair->second.receive(soon()));
  ASSERT_TRUE(got);
  EXPECT_EQ(got->bytes, "take this");
  ASSERT_EQ(got->fds.size(), 1U);
  ASSERT_EQ(write(got->fds[0].get(), "x", 1), 1);
  char byte = 0;
  ASSERT_EQ(read(ends[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
  ::close(ends[0]);
}

TEST(MessageSocket, KeepsTheBoundsOfTheLongestMessages) {
  asio::io_context loop;
  auto pair = MessageSocket::pair();
  ASSERT_TRUE(pair);
  const std::string longest(kMessageBytesMax, 'm');
  ASSERT_TRUE(run_task(loop, pair->first.send(Message{longest, {}}, soon())));
  ASSERT_TRUE(run_task(loop, pair->first.send(Message{"after", {}}, soon())));
  const auto first = run_task(loop, pair->second.receive(soon()));
  const auto second = run_task(loop, pair->second.receive(soon()));
  ASSERT_TRUE(first);
  ASSERT_TRUE(second);
  EXPECT_EQ(first->bytes, longest);
  EXPECT_EQ(second->bytes, "after");
  const auto refused =
      run_task(loop, pair->first.send(Message{std::string(kMessageBytesMax + 1, 'm'), {}}, soon()));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "too_long");
}

Task<void> send_many(MessageSocket& socket, int count, int& sent) {
  for (int i = 0; i < count; i++) {
    Message message;
    message.bytes = std::string(100'000, static_cast<char>(i));
    const auto done = co_await socket.send(std::move(message), soon());
    if (!done) co_return;
    sent++;
  }
}

TEST(MessageSocket, AFullSocketMakesTheSenderWaitAndLosesNothing) {
  asio::io_context loop;
  auto pair = MessageSocket::pair();
  ASSERT_TRUE(pair);
  TaskScope scope(loop.get_executor());
  constexpr int kCount = 100;
  int sent = 0;
  scope.spawn("sender", send_many(pair->first, kCount, sent));
  loop.poll();
  EXPECT_LT(sent, kCount);
  for (int i = 0; i < kCount; i++) {
    const auto got = run_task(loop, pair->second.receive(soon()));
    ASSERT_TRUE(got);
    ASSERT_EQ(got->bytes, std::string(100'000, static_cast<char>(i)));
  }
  EXPECT_TRUE(run_until(loop, [&] { return scope.running() == 0; }));
  EXPECT_EQ(sent, kCount);
}

TEST(MessageSocket, SaysClosedAtTheEndAndTimeoutBefore) {
  asio::io_context loop;
  auto pair = MessageSocket::pair();
  ASSERT_TRUE(pair);
  const auto nothing = run_task(loop, pair->second.receive(now() + std::chrono::milliseconds(5)));
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, "timeout");
  pair->first.close();
  const auto end = run_task(loop, pair->second.receive(soon()));
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().code, "closed");
}

}  // namespace
}  // namespace everspan::net
