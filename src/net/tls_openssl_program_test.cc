// Our record layer against `openssl s_client` and `openssl s_server`, as programs.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "net/frame_link.h"
#include "net/socket.h"
#include "net/testing_certificates.h"
#include "net/testing_run.h"
#include "net/tls.h"

namespace everspan::net {
namespace {

using testing::make_certificate;
using testing::run_task;
using testing::soon;

// A program whose standard input and outputs are one socket.
class Program {
 public:
  explicit Program(std::vector<std::string> words) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      for (const int fd : {0, 1, 2}) dup2(ends[1], fd);
      execvp(arguments[0], arguments.data());
      _exit(127);
    }
    ::close(ends[1]);
    fd_ = ends[0];
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ::close(fd_);
  }
  void say(std::string_view line) const {
    EXPECT_EQ(::write(fd_, line.data(), line.size()), static_cast<ssize_t>(line.size()));
  }
  // Reads until the text has come; gives all behind it that came too.
  std::string wait_for(std::string_view text) {
    for (;;) {
      const auto found = heard_.find(text);
      if (found != std::string::npos) {
        heard_.erase(0, found + text.size());
        return heard_;
      }
      pollfd ready{fd_, POLLIN, 0};
      char buffer[4096];
      const auto got = poll(&ready, 1, 10'000) == 1 ? ::read(fd_, buffer, sizeof buffer) : 0;
      if (got <= 0) {
        ADD_FAILURE() << "it never said " << text << ", but: " << heard_;
        return {};
      }
      heard_.append(buffer, static_cast<std::size_t>(got));
    }
  }

 private:
  pid_t pid_ = -1;
  int fd_ = -1;
  std::string heard_;
};

class TlsPrograms : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/everspan-tls-XXXXXX";
    folder_ = mkdtemp(name);
    std::ofstream(folder_ + "/root.pem") << root_.pem();
    std::ofstream(folder_ + "/leaf.pem") << leaf_.pem();
    std::ofstream(folder_ + "/key.pem") << leaf_.key.pem();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  static std::string read_line(asio::io_context& loop, Transport& transport) {
    std::string got;
    while (!got.ends_with('\n')) {
      const auto more = run_task(loop, read_some(transport, 1000, soon()));
      if (!more || more->empty()) {
        ADD_FAILURE() << "the line did not come whole: " << got;
        break;
      }
      got += *more;
    }
    return got;
  }

  std::string folder_;
  testing::TestCertificate root_ = make_certificate("Test root");
  testing::TestCertificate leaf_ = make_certificate("site", &root_, "DNS:site.test,IP:127.0.0.1");
};

TEST_F(TlsPrograms, SClientTalksToUsAcrossKeyChangesThatItAsksFor) {
  asio::io_context loop;
  const auto listener = listen_tcp({"127.0.0.1", 0});
  const auto context = TlsContext::server(
      {.certificate_chain_pem = leaf_.pem() + root_.pem(), .private_key_pem = leaf_.key.pem()});
  ASSERT_TRUE(listener && context);
  Program client({"openssl", "s_client", "-connect", local_address(listener->get()).text(),
                  "-CAfile", folder_ + "/root.pem", "-verify_return_error", "-tls1_3"});
  auto tcp = run_task(loop, accept_tcp(listener->get()));
  ASSERT_TRUE(tcp);
  auto made = run_task(loop, tls_accept(*context, std::move(*tcp), soon()));
  ASSERT_TRUE(made) << made.error().text();
  client.wait_for("Verify return code: 0");
  client.say("hello\n");
  EXPECT_EQ(read_line(loop, **made), "hello\n");
  client.say("K\n");  // Its key changes, and ours is asked for.
  client.wait_for("KEYUPDATE");
  client.say("again\n");
  EXPECT_EQ(read_line(loop, **made), "again\n");
  ASSERT_TRUE(run_task(loop, write_all(**made, "under a new key\n", soon())));
  client.wait_for("under a new key");
  (*made)->close();
  client.wait_for("closed");
}

TEST_F(TlsPrograms, SServerTalksToUsAndItsTicketsAreLeftUnread) {
  asio::io_context loop;
  Program server({"openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", folder_ + "/leaf.pem",
                  "-key", folder_ + "/key.pem", "-tls1_3", "-rev"});
  server.wait_for("ACCEPT ");
  const auto at = Address::parse("127.0.0.1:" + [&] {
    server.wait_for(":");
    const auto digits = server.wait_for("");
    return digits.substr(0, digits.find('\n'));
  }());
  ASSERT_TRUE(at);
  const auto context = TlsContext::client({.ca_pem = root_.pem()});
  auto made = run_task(loop, tls_connect(*context, *at, "site.test", soon()));
  ASSERT_TRUE(made) << made.error().text();
  for (const std::string text : {"abc", "a longer line"}) {
    ASSERT_TRUE(run_task(loop, write_all(**made, text + "\n", soon())));
    EXPECT_EQ(read_line(loop, **made), std::string(text.rbegin(), text.rend()) + "\n");
  }
}

}  // namespace
}  // namespace everspan::net
