#include "agent/host_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "common/bytes.h"
#include "net/frame_link.h"
#include "net/transport.h"

namespace everspan::agent {
namespace {

// The host's standard input and output are one socket: orders in, "ready" out.
Result<net::Fd> spawn(const std::string& program) {
  std::array<int, 2> pair{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0)
    return fail_errno("no_host", "Making a socket", errno);
  net::Fd ours(pair[0]);
  net::Fd theirs(pair[1]);
  const pid_t pid = fork();
  if (pid < 0) return fail_errno("no_host", "Starting a process", errno);
  if (pid == 0) {
    setsid();
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    dup2(theirs.get(), 0);
    dup2(theirs.get(), 1);
    syscall(SYS_close_range, 3, ~0U, 0);
    execl(program.c_str(), "everspan-session-host", static_cast<char*>(nullptr));
    _exit(127);
  }
  return ours;
}

}  // namespace

net::Task<Result<void>> start_host(std::string program, std::string start, Instant deadline) {
  auto socket = spawn(program);
  if (!socket) co_return fail(socket);
  const auto transport = net::plain_transport(std::move(*socket));
  std::string orders;
  put_u32(orders, static_cast<std::uint32_t>(start.size()));
  orders += start;
  const auto written = co_await net::write_all(*transport, std::move(orders), deadline);
  if (!written) co_return fail("no_host", "The session-host did not take its orders");
  const auto answer = co_await net::read_some(*transport, 64, deadline);
  if (!answer) co_return fail(answer);
  if (!answer->starts_with("ready"))
    co_return fail("no_host", "The session-host did not start", "",
                   "Its reason is on the agent's standard error");
  co_return Result<void>{};
}

}  // namespace everspan::agent
