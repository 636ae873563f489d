// A site that does nothing but speak base.proto, for base's tests. Its behaviour is the text behind
// the last "BEHAVIOUR=" of its own file, so that two releases differ as real ones do: by content.
//   ok        as it should be            exit     ends before it is ready
//   hang      never ready, silent        unhealthy   ready, then says that it is not well
//   sick      stops itself (SIGSTOP) when activated
// A test commands it through DIR/node/<pid>.sock, one line a request: "request KEY WHAT [ARG]",
// answered by one line when base replied; "where" is answered by "ROLE GENERATION", and " init" or
// " join" as the Welcome said; "site" makes it say that it has a site.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "net/message_socket.h"
#include "proto/base.pb.h"
#include "supervisor/detail/files.h"

using namespace everspan;

namespace {

struct FakeSite {
  std::optional<net::MessageSocket> base;
  std::string behaviour = "ok", data, base_path, token, release;
  pb::SlotRole role = pb::SLOT_UNKNOWN;
  std::uint64_t generation = 0;
  bool serving = false;
  bool has_site = false;
  std::vector<net::Fd> listeners;
  pb::Welcome welcome;
  net::Fd control;
  std::map<std::string, net::Fd> asked;
  std::vector<net::Fd> askers;

  void say(const pb::SiteToBase& m, std::vector<net::Fd> fds = {}) {
    if (!base) return;
    net::Message message{.bytes = m.SerializeAsString(), .fds = std::move(fds)};
    if (auto sent = base->send_now(message); !sent) base.reset();
  }
  void open_control() {
    const auto path = data + "/node/" + std::to_string(getpid()) + ".sock";
    sockaddr_un at{.sun_family = AF_UNIX, .sun_path = {}};
    path.copy(at.sun_path, sizeof at.sun_path - 1);
    control = net::Fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    unlink(path.c_str());
    if (bind(control.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) != 0 ||
        listen(control.get(), 8) != 0)
      _exit(9);
  }
  void on_welcome(const pb::Welcome& m, std::vector<net::Fd> fds) {
    welcome = m;
    role = m.role();
    data = m.data_dir();
    base_path = m.base_socket();
    token = m.slot_token();
    if (listeners.empty()) listeners = std::move(fds);
    if (!control) open_control();
    if (behaviour == "exit") _exit(3);
    if (behaviour == "hang")
      for (;;) pause();
    pb::SiteToBase ready;
    ready.mutable_ready()->set_read_revision(1);
    say(ready);
    heartbeat();
  }
  void heartbeat() {
    pb::SiteToBase m;
    m.mutable_heartbeat()->set_healthy(behaviour != "unhealthy");
    m.mutable_heartbeat()->set_why("as told");
    m.mutable_heartbeat()->set_has_site(has_site);
    say(m);
  }
  void on(const pb::BaseToSite& m, std::vector<net::Fd> fds) {
    if (m.has_welcome()) on_welcome(m.welcome(), std::move(fds));
    if (m.has_retire()) _exit(0);
    if (m.has_role_changed()) role = m.role_changed().role();
    if (m.has_activate()) {
      generation = m.activate().generation();
      role = pb::SLOT_ACTIVE;
      serving = true;
      if (behaviour == "sick") raise(SIGSTOP);
      pb::SiteToBase out;
      out.mutable_activated()->set_generation(generation);
      say(out);
    }
    if (m.has_release_writer()) {
      serving = false;
      pb::SiteToBase out;
      out.mutable_released()->set_generation(m.release_writer().generation());
      say(out);
    }
    if (m.has_reply() && asked.contains(m.reply().key())) {
      const auto& r = m.reply();
      const auto line =
          std::string(r.ok() ? "ok" : "failed") + " " + r.code() + " " + r.message() + "\n";
      if (write(asked[r.key()].get(), line.data(), line.size()) < 0) perror("reply");
      asked.erase(r.key());
    }
  }
  void command(net::Fd from, const std::string& line) {
    std::istringstream in(line);
    std::string verb, key, what, arg;
    in >> verb >> key >> what >> arg;
    if (verb == "site") has_site = true;
    if (verb == "where" || verb == "site") {
      const auto text = std::to_string(role) + " " + std::to_string(generation) +
                        (welcome.has_init() ? " init" : "") + (welcome.join() ? " join" : "") +
                        "\n";
      if (write(from.get(), text.data(), text.size()) < 0) perror("where");
      return;
    }
    pb::SiteToBase m;
    auto& r = *m.mutable_request();
    r.set_key(key);
    if (what == "start") r.mutable_start_candidate()->set_digest(arg);
    if (what == "stop") r.mutable_stop_candidate()->set_why("test");
    if (what == "switch") {
      r.mutable_switch_()->set_digest(arg);
      r.mutable_switch_()->set_silence_ms(600);
    }
    if (what == "good") r.mutable_good();
    if (what == "back") r.mutable_back()->set_why("test");
    if (what == "status") r.mutable_status();
    asked[key] = std::move(from);
    say(m);
  }
  // Base is gone: dial it again, prove who we are, give the listeners back.
  void return_to_base() {
    net::Fd socket_fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un at{.sun_family = AF_UNIX, .sun_path = {}};
    base_path.copy(at.sun_path, sizeof at.sun_path - 1);
    if (connect(socket_fd.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) return;
    fcntl(socket_fd.get(), F_SETFL, O_NONBLOCK);
    base = net::MessageSocket(std::move(socket_fd));
    pb::SiteToBase m;
    auto& hello = *m.mutable_hello();
    hello.set_pid(static_cast<std::uint32_t>(getpid()));
    hello.set_slot_token(token);
    hello.set_protocol(1);
    hello.set_generation(generation);
    *hello.mutable_listeners() = welcome.listeners();
    std::vector<net::Fd> fds;
    for (const auto& l : listeners) fds.push_back(l.duplicate());
    say(m, std::move(fds));
  }
  void hear_base() {
    while (base) {
      auto message = base->receive_now();
      if (!message) {
        if (message.error().code == "would_block") return;
        if (token.empty()) _exit(4);  // Never welcomed: nobody knows of us.
        return base.reset();
      }
      pb::BaseToSite m;
      if (m.ParseFromString(message->bytes)) on(m, std::move(message->fds));
    }
  }
  void serve() {
    const net::Fd client(accept4(listeners.front().get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) return;
    const auto line = std::to_string(generation) + " " + std::to_string(getpid()) + "\n";
    if (write(client.get(), line.data(), line.size()) < 0) perror("serve");
  }
  void turn() {
    std::vector<pollfd> polls;
    if (base) polls.push_back({.fd = base->fd(), .events = POLLIN, .revents = 0});
    if (control) polls.push_back({.fd = control.get(), .events = POLLIN, .revents = 0});
    for (const auto& a : askers) polls.push_back({.fd = a.get(), .events = POLLIN, .revents = 0});
    if (serving) polls.push_back({.fd = listeners.front().get(), .events = POLLIN, .revents = 0});
    if (poll(polls.data(), polls.size(), 30) < 0) return;
    const auto ready = [&](int fd) {
      for (const auto& p : polls)
        if (p.fd == fd && p.revents != 0) return true;
      return false;
    };
    if (serving && ready(listeners.front().get())) serve();
    std::vector<net::Fd> still;
    for (auto& a : askers) {
      if (!ready(a.get())) {
        still.push_back(std::move(a));
        continue;
      }
      char line[512] = {};
      if (read(a.get(), line, sizeof line - 1) > 0) command(std::move(a), line);
    }
    askers = std::move(still);
    if (control && ready(control.get()))
      askers.emplace_back(accept4(control.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!base) return_to_base();
    heartbeat();
    hear_base();
  }
};

}  // namespace

int main() {
  signal(SIGPIPE, SIG_IGN);
  FakeSite site;
  const net::Fd self(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  char tail[64] = {};
  const auto size = lseek(self.get(), 0, SEEK_END);
  if (pread(self.get(), tail, sizeof tail - 1, size - 63) > 0) {
    const std::string text(tail, 63);
    const auto at = text.rfind("BEHAVIOUR=");
    if (at != text.npos) site.behaviour = text.substr(at + 10);
  }
  fcntl(3, F_SETFL, O_NONBLOCK);
  site.base = net::MessageSocket(net::Fd(3));
  for (;;) site.turn();
}
