// A release that is bad in one known way, made of a real one: tools/demo/releases_bad.py appends
// the real everspan-site and the way to this program and publishes the result as a signed package.
//
//   this program | the real everspan-site | u64 size of it | 32 bytes kind | "EVSPBAD1"
//
// It runs the real one in its own process (so base watches the real process) with a socket of its
// own as descriptor 3, and a child that stands between base and site and makes it bad:
//   exit               ends with status 1 at once
//   hang               never says a word
//   unhealthy          says Ready, then answers every heartbeat as unhealthy
//   crashloop          is killed 1 s after each start
//   sick-after-switch  healthy; stopped (SIGSTOP) 2 s after it was activated
// In a self-test, or without a socket from base, it is the real one.
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base.pb.h"

namespace {

constexpr int kBaseFd = 3;
constexpr std::string_view kMagic = "EVSPBAD1";
constexpr std::size_t kKindBytes = 32;
constexpr std::size_t kTrailerBytes = 8 + kKindBytes + 8;
constexpr std::size_t kMessageBytesMax = 1024 * 1024;
constexpr std::size_t kFdsMax = 64;
constexpr int kCrashAfterS = 1, kSickAfterS = 2;

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::_Exit(99);
}

// The real program, in memory; `kind` is set from the trailer.
int unpack_real(std::string& kind) {
  const int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  struct stat info{};
  if (self < 0 || fstat(self, &info) != 0) die("/proc/self/exe");
  std::array<char, kTrailerBytes> trailer{};
  const off_t trailer_at = info.st_size - static_cast<off_t>(kTrailerBytes);
  if (pread(self, trailer.data(), trailer.size(), trailer_at) != ssize_t{kTrailerBytes})
    die("trailer");
  if (std::string_view(trailer.data() + 8 + kKindBytes, 8) != kMagic) die("no release is appended");
  std::uint64_t size = 0;
  std::memcpy(&size, trailer.data(), sizeof size);
  kind = trailer.data() + 8;
  const int real = memfd_create("everspan-site", MFD_CLOEXEC);
  off_t at = trailer_at - static_cast<off_t>(size);
  std::vector<char> piece(1 << 20);
  while (at < trailer_at) {
    const auto want =
        std::min<std::size_t>(piece.size(), static_cast<std::size_t>(trailer_at - at));
    const ssize_t got = pread(self, piece.data(), want, at);
    if (got <= 0 || write(real, piece.data(), static_cast<std::size_t>(got)) != got) die("unpack");
    at += got;
  }
  close(self);
  return real;
}

struct Packet {
  std::vector<char> bytes;
  std::vector<int> fds;
};

// False: the other side is gone.
bool receive(int from, Packet& packet) {
  packet.bytes.resize(kMessageBytesMax);
  packet.fds.clear();
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kFdsMax * sizeof(int))> control{};
  iovec part{packet.bytes.data(), packet.bytes.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t got = recvmsg(from, &header, MSG_CMSG_CLOEXEC);
  if (got <= 0 || (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return false;
  packet.bytes.resize(static_cast<std::size_t>(got));
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    packet.fds.resize(count);
    std::memcpy(packet.fds.data(), CMSG_DATA(c), count * sizeof(int));
  }
  return true;
}

bool pass_on(int to, Packet& packet) {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kFdsMax * sizeof(int))> control{};
  iovec part{packet.bytes.data(), packet.bytes.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!packet.fds.empty()) {
    const std::size_t bytes = packet.fds.size() * sizeof(int);
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(bytes);
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(bytes);
    std::memcpy(CMSG_DATA(c), packet.fds.data(), bytes);
  }
  const ssize_t sent = sendmsg(to, &header, MSG_NOSIGNAL);
  for (const int fd : packet.fds) close(fd);
  return sent == static_cast<ssize_t>(packet.bytes.size());
}

void start_timer(int timer, int seconds) {
  const itimerspec once{.it_interval = {}, .it_value = {.tv_sec = seconds, .tv_nsec = 0}};
  if (timerfd_settime(timer, 0, &once, nullptr) != 0) die("timer");
}

void make_unhealthy(Packet& packet) {
  everspan::pb::SiteToBase message;
  if (!message.ParseFromArray(packet.bytes.data(), static_cast<int>(packet.bytes.size())) ||
      !message.has_heartbeat()) {
    return;
  }
  message.mutable_heartbeat()->set_healthy(false);
  message.mutable_heartbeat()->set_why("answers 503");
  const std::string changed = message.SerializeAsString();
  packet.bytes.assign(changed.begin(), changed.end());
}

bool is_activate(const Packet& packet) {
  everspan::pb::BaseToSite message;
  return message.ParseFromArray(packet.bytes.data(), static_cast<int>(packet.bytes.size())) &&
         message.has_activate();
}

// Passes everything between base and site on until one of them is gone.
void stand_between(int base, int site, const std::string& kind, pid_t victim) {
  const int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  if (kind == "crashloop") start_timer(timer, kCrashAfterS);
  std::array<pollfd, 3> polled{{{base, POLLIN, 0}, {site, POLLIN, 0}, {timer, POLLIN, 0}}};
  Packet packet;
  for (;;) {
    if (poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) die("poll");
    if (polled[2].revents != 0) {
      std::uint64_t ticks = 0;
      if (read(timer, &ticks, sizeof ticks) > 0)
        kill(victim, kind == "crashloop" ? SIGKILL : SIGSTOP);
    }
    if (polled[0].revents != 0) {
      if (!receive(base, packet)) return;
      if (kind == "sick-after-switch" && is_activate(packet)) start_timer(timer, kSickAfterS);
      if (!pass_on(site, packet)) return;
    }
    if (polled[1].revents != 0) {
      if (!receive(site, packet)) return;
      if (kind == "unhealthy") make_unhealthy(packet);
      if (!pass_on(base, packet)) return;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::string kind;
  const int real = unpack_real(kind);
  int type = 0;
  socklen_t size = sizeof type;
  const bool self_test = argc > 1 && std::string_view(argv[1]) == "--self-test";
  const bool from_base = !self_test &&
                         getsockopt(kBaseFd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
                         type == SOCK_SEQPACKET;
  if (from_base && kind == "exit") return 1;
  if (from_base && kind == "hang") {
    for (;;) pause();
  }
  if (from_base) {
    std::array<int, 2> pair{};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.data()) != 0) die("socketpair");
    int buffer = 4 * 1024 * 1024;
    for (const int fd : pair) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    const pid_t victim = getpid();
    const pid_t child = fork();
    if (child < 0) die("fork");
    if (child == 0) {
      close(pair[0]);
      stand_between(kBaseFd, pair[1], kind, victim);
      std::_Exit(0);
    }
    if (dup2(pair[0], kBaseFd) < 0) die("dup2");  // The copy has no close-on-exec.
    close(pair[0]);
    close(pair[1]);
  }
  fexecve(real, argv, environ);
  die("fexecve");
}
