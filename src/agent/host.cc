#include "agent/host.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "agent/host_server.h"
#include "agent/host_session.h"
#include "common/crypto.h"
#include "common/log.h"
#include "net/socket.h"
#include "proto/host.pb.h"

namespace everspan::agent {
namespace {

constexpr std::size_t kStartBytesMax = 64 * 1024;
constexpr Duration kLastBytesMax = std::chrono::seconds(2);

Result<std::string> read_exactly(int fd, std::size_t size) {
  std::string out(size, '\0');
  for (std::size_t got = 0; got < size;) {
    const ssize_t n = ::read(fd, out.data() + got, size - got);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return fail("bad_start", "The agent's orders are cut");
    got += static_cast<std::size_t>(n);
  }
  return out;
}

Result<pb::HostStart> read_start() {
  const auto head = read_exactly(0, 4);
  if (!head) return fail(head);
  const std::size_t size = get_u32(as_bytes(*head).data());
  if (size > kStartBytesMax) return fail("bad_start", "The agent's orders are too long");
  const auto body = read_exactly(0, size);
  if (!body) return fail(body);
  pb::HostStart start;
  if (!start.ParseFromString(*body)) return fail("bad_start", "The agent's orders are malformed");
  return start;
}

// For good: all three ids, and the groups.
Result<void> become_user(const std::string& name) {
  const passwd* user = getpwnam(name.c_str());
  if (user == nullptr) return fail("no_user", "There is no user " + printable(name, 64));
  if (initgroups(user->pw_name, user->pw_gid) != 0 ||
      setresgid(user->pw_gid, user->pw_gid, user->pw_gid) != 0 ||
      setresuid(user->pw_uid, user->pw_uid, user->pw_uid) != 0)
    return fail_errno("no_user", "Becoming " + name, errno);
  return {};
}

relay_end::SessionOptions session_options(const pb::HostStart& start, const CheckedGrant& grant) {
  relay_end::SessionOptions options{
      .side = relay_end::Side::agent, .session_id = grant.session_id, .site_key = start.site_key()};
  options.limits.strict = grant.strict;
  options.ttl = std::chrono::seconds(grant.ttl_s);
  fill_random(reinterpret_cast<std::uint8_t*>(&options.seed), sizeof options.seed);
  const auto& orders = start.orders();
  for (const auto& c : orders.candidates())
    options.orders.candidates.push_back({c.host(), static_cast<std::uint16_t>(c.port()), c.node()});
  options.orders.redial_after = std::chrono::milliseconds(orders.redial_after_ms());
  options.orders.redial_spread = std::chrono::milliseconds(orders.redial_spread_ms());
  options.orders.heartbeat = std::chrono::milliseconds(orders.heartbeat_ms());
  return options;
}

// What the agent verified, read again: the host trusts its starter, whose key check it repeats.
Result<CheckedGrant> read_grant(const pb::HostStart& start) {
  pb::Grant grant;
  if (!grant.ParseFromString(start.grant().grant())) return fail("bad_grant", "No grant");
  const TrustedSite site{.site_id = grant.site_id(),
                         .grant_key = start.site_key(),
                         .endpoint_id = grant.endpoint_id()};
  return check_grant(start.grant().SerializeAsString(), site, net::wall_now(), false);
}

struct Host {
  net::asio::io_context& loop;
  HostServer server;
  HostSession session;
  net::Wakeup over;

  Host(net::asio::io_context& l, net::Fd listener, unsigned owner, const pb::HostStart& start,
       const CheckedGrant& grant)
      : loop(l),
        server(l.get_executor(), std::move(listener), owner, start.grant().SerializeAsString()),
        session(l.get_executor(), grant, session_options(start, grant), server,
                [this](std::string) { over.notify(); }),
        over(l.get_executor()) {}

  net::Task<void> run() {
    server.serve(session.driver());
    session.driver().start();
    std::ignore = co_await over.wait_until(Instant::max());
    const Instant until = net::now() + kLastBytesMax;
    while (session.driver().unsent_bytes() > 0 && net::now() < until)
      std::ignore = co_await net::sleep_for(std::chrono::milliseconds(10));
    co_await session.stop();
    co_await server.stop();
    loop.stop();
  }
};

Result<int> serve(const pb::HostStart& start) {
  const auto grant = read_grant(start);
  if (!grant) return fail(grant);
  auto listener = net::listen_unix(start.socket_path());
  if (!listener) return fail(listener);
  const unsigned owner = getuid();
  if (!start.user().empty() && owner == 0) {
    const auto became = become_user(start.user());
    if (!became) return fail(became);
  }
  if (::write(1, "ready\n", 6) != 6) return fail("no_agent", "The agent left before the start");
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  dup2(null, 0);
  dup2(null, 1);
  close(null);
  net::asio::io_context loop(1);
  auto host = std::make_unique<Host>(loop, std::move(*listener), owner, start, *grant);
  net::TaskScope tasks(loop.get_executor());
  tasks.spawn("host", host->run());
  loop.run();
  loop.restart();  // The last task's own end.
  loop.poll();
  unlink(start.socket_path().c_str());  // After privileges were given up, the agent does it.
  log_info("host.end");
  return 0;
}

}  // namespace

int run_session_host() {
  set_log_program("session-host");
  signal(SIGPIPE, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  signal(SIGCHLD, SIG_DFL);
  umask(077);
  setsid();
  auto start = read_start();
  Result<int> served = start ? serve(*start) : fail(start);
  if (served) return *served;
  log_error("host.failed", {{"code", served.error().code}, {"why", served.error().text()}});
  return 1;
}

}  // namespace everspan::agent
