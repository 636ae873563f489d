#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "load/message.h"
#include "load/sides.h"

namespace load {
namespace {
volatile std::sig_atomic_t g_signalled = 0;
void on_signal(int number) {
  g_signalled = number;
}

void set_nonblocking(int fd) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}
}  // namespace

int run_agent(const Options& options) {
  struct sigaction action{};
  action.sa_handler = on_signal;
  for (const int number : {SIGHUP, SIGTERM, SIGINT}) sigaction(number, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  set_nonblocking(STDIN_FILENO);
  set_nonblocking(STDOUT_FILENO);

  Evidence evidence(options.evidence);
  Sender sender(options.session, "a2c", options.seed);
  Receiver receiver(options.session, "c2a");
  evidence.event(options.session, "agent_started", "\"pid\":" + std::to_string(getpid()));
  const std::int64_t interval_ns = options.interval_ms * 1'000'000LL;
  // A start of its own in the interval, so that sessions do not all speak at one moment.
  std::int64_t due =
      monotonic_ns() + static_cast<std::int64_t>(sender.random_below(
                           static_cast<std::size_t>(std::max<std::int64_t>(interval_ns, 1))));
  bool input_open = true, last_made = false;
  sender.make(Kind::data);  // The first message tells the console that the session is up.
  const auto ended = [&](const char* how, int code) {
    receiver.finish(evidence);
    evidence.event(options.session, "agent_ended", std::string(R"("how":")") + how + '"');
    evidence.flush();
    return code;
  };

  for (;;) {
    if (g_signalled != 0) return ended("signal", 5);
    if (receiver.saw_last() && sender.idle()) {
      if (last_made) return ended("asked", 0);
      sender.make(Kind::last);
      last_made = true;
    }
    if (!input_open && !receiver.saw_last()) return ended("input ended", 3);
    const std::int64_t now = monotonic_ns();
    if (sender.idle() && !last_made && now >= due) {
      sender.make(Kind::data);
      due = std::max(due + interval_ns, now);  // Held up: go on from here, do not catch up.
    }
    if (!sender.write_to(STDOUT_FILENO, evidence)) return ended("output ended", 3);
    if (receiver.saw_last() && sender.idle()) continue;
    if (evidence.due()) evidence.flush();

    pollfd polled[2] = {{input_open ? STDIN_FILENO : -1, POLLIN, 0},
                        {sender.idle() ? -1 : STDOUT_FILENO, POLLOUT, 0}};
    const std::int64_t wait_ns = sender.idle() ? due - monotonic_ns() : interval_ns;
    const timespec timeout{.tv_sec = std::max<std::int64_t>(wait_ns, 0) / 1'000'000'000,
                           .tv_nsec = std::max<std::int64_t>(wait_ns, 0) % 1'000'000'000};
    if (ppoll(polled, 2, &timeout, nullptr) <= 0) continue;
    if (polled[0].revents != 0 &&
        receiver.read_from(STDIN_FILENO, evidence) == Receiver::Read::end) {
      input_open = false;
    }
  }
}

}  // namespace load
