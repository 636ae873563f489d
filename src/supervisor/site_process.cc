#include "supervisor/site_process.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "common/crypto.h"
#include "supervisor/detail/files.h"

namespace everspan::supervisor {
namespace {

constexpr int kChannelFd = 3;
constexpr int kProgramFd = 4;
constexpr int kReportFd = 5;
constexpr std::size_t kLogPathBytesMax = 4096;

struct Failure {  // What the child tells through the report pipe when it cannot run the program.
  char step[32];
  int error;
};

// All that the child needs, made before fork: between fork and exec only async-signal-safe calls.
struct ChildPlan {
  int program = -1;
  int channel = -1;
  int report = -1;
  bool drop = false;
  uid_t uid = 0;
  gid_t gid = 0;
  char log_path[kLogPathBytesMax] = {};
  std::size_t log_prefix_bytes = 0;  // 0: inherit.
  char* const* argv = nullptr;
  char* const* envp = nullptr;
};

[[noreturn]] void give_up(int report, const char* step) {
  Failure failure{};
  failure.error = errno;
  strncpy(failure.step, step, sizeof failure.step - 1);
  // Nothing can be done if this fails too: the parent sees exit status 71.
  if (write(report, &failure, sizeof failure) < 0) _exit(72);
  _exit(71);
}

void append_pid(ChildPlan& plan) {
  char digits[16];
  int count = 0;
  for (auto pid = getpid(); pid > 0 && count < 15; pid /= 10)
    digits[count++] = static_cast<char>('0' + pid % 10);
  auto* at = plan.log_path + plan.log_prefix_bytes;
  while (count > 0) *at++ = digits[--count];
  memcpy(at, ".log", 5);
}

void open_output(ChildPlan& plan, int report) {
  const int null = open("/dev/null", O_RDWR);
  if (null < 0 || dup2(null, 0) < 0) give_up(report, "open /dev/null");
  if (plan.log_prefix_bytes == 0) {
    if (dup2(2, 1) < 0) give_up(report, "dup2 output");
    return;
  }
  append_pid(plan);
  const int log = open(plan.log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0640);
  if (log < 0) give_up(report, "open the log");
  if (dup2(log, 1) < 0 || dup2(log, 2) < 0) give_up(report, "dup2 log");
}

// 3 the channel, 4 the program and 5 the report (both closed by exec), nothing above.
void arrange_descriptors(ChildPlan& plan) {
  const int program = fcntl(plan.program, F_DUPFD, 64);
  const int channel = fcntl(plan.channel, F_DUPFD, 64);
  const int report = fcntl(plan.report, F_DUPFD, 64);
  if (program < 0 || channel < 0 || report < 0) give_up(plan.report, "dup descriptors");
  if (dup2(channel, kChannelFd) < 0 || dup2(program, kProgramFd) < 0 || dup2(report, kReportFd) < 0)
    give_up(report, "dup2 descriptors");
  if (fcntl(kProgramFd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(kReportFd, F_SETFD, FD_CLOEXEC) != 0)
    give_up(kReportFd, "close-on-exec");
  if (syscall(SYS_close_range, kReportFd + 1, ~0U, 0) != 0) give_up(kReportFd, "close_range");
}

void drop_privileges(const ChildPlan& plan) {
  const rlimit no_core{0, 0};
  if (setrlimit(RLIMIT_CORE, &no_core) != 0) give_up(kReportFd, "setrlimit");
  if (plan.drop) {
    if (setgroups(0, nullptr) != 0) give_up(kReportFd, "setgroups");
    if (setresgid(plan.gid, plan.gid, plan.gid) != 0) give_up(kReportFd, "setresgid");
    if (setresuid(plan.uid, plan.uid, plan.uid) != 0) give_up(kReportFd, "setresuid");
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) give_up(kReportFd, "no_new_privs");
}

[[noreturn]] void run_child(ChildPlan& plan) {
  if (setsid() < 0) give_up(plan.report, "setsid");
  umask(0077);
  for (int signal = 1; signal < 32; ++signal) {
    struct sigaction act{};
    act.sa_handler = SIG_DFL;
    sigaction(signal, &act, nullptr);  // Fails for KILL and STOP, which are as they should be.
  }
  sigset_t none;
  sigemptyset(&none);
  if (sigprocmask(SIG_SETMASK, &none, nullptr) != 0) give_up(plan.report, "sigprocmask");
  open_output(plan, plan.report);  // Before dropping: run/ is root's, so no link can wait there.
  arrange_descriptors(plan);
  drop_privileges(plan);
  syscall(SYS_execveat, kProgramFd, "", plan.argv, plan.envp, AT_EMPTY_PATH);
  give_up(kReportFd, "execveat");
}

Result<void> read_report(int pipe) {
  Failure failure{};
  ssize_t n = 0;
  do n = read(pipe, &failure, sizeof failure);
  while (n < 0 && errno == EINTR);
  if (n == 0) return {};  // Closed by exec: the program runs.
  if (n != sizeof failure) return fail("start", "The site process ended before it ran");
  failure.step[sizeof failure.step - 1] = 0;
  return fail_errno("start", std::string("Starting the site: ") + failure.step, failure.error);
}

}  // namespace

Result<StartedSite> start_site(const net::Fd& program, const StartOptions& options) {
  auto sockets = net::MessageSocket::pair();
  if (!sockets) return fail(sockets);
  std::array<int, 2> report{};
  if (pipe2(report.data(), O_CLOEXEC) != 0) return fail_errno("start", "Making a pipe", errno);
  const net::Fd report_in(report[0]);
  net::Fd report_out(report[1]);

  ChildPlan plan;
  if (options.log_prefix.size() + 32 > sizeof plan.log_path)
    return fail("start", "The path of the data folder is too long");
  memcpy(plan.log_path, options.log_prefix.data(), options.log_prefix.size());
  plan.log_prefix_bytes = options.log_prefix.size();
  plan.program = program.get();
  plan.channel = sockets->second.fd();
  plan.report = report_out.get();
  plan.drop = options.user.separate;
  plan.uid = options.user.uid;
  plan.gid = options.user.gid;
  std::vector<std::string> words = {"everspan-site"};
  words.insert(words.end(), options.arguments.begin(), options.arguments.end());
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::vector<std::string> environment = options.environment;
  std::vector<char*> envp;
  for (auto& each : environment) envp.push_back(each.data());
  envp.push_back(nullptr);
  plan.argv = argv.data();
  plan.envp = envp.data();

  const auto pid = fork();
  if (pid < 0) return fail_errno("start", "fork", errno);
  if (pid == 0) run_child(plan);
  report_out.reset();
  sockets->second.close();
  net::Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  auto runs = read_report(report_in.get());
  auto ticks = start_ticks_of(static_cast<std::uint32_t>(pid));
  if (!pidfd || !runs || !ticks) {
    kill(pid, SIGKILL);  // Not reaped yet, so the pid is still its own.
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!runs) return fail(runs);
    return fail("start", "The site process cannot be watched");
  }
  ProcessRecord record{.pid = static_cast<std::uint32_t>(pid),
                       .start_ticks = *ticks,
                       .boot_id = boot_id(),
                       .token = random_bytes(32)};
  return StartedSite{
      .record = std::move(record), .pidfd = std::move(pidfd), .channel = std::move(sockets->first)};
}

std::string boot_id() {
  auto text = detail::read_file("/proc/sys/kernel/random/boot_id", 256);
  if (!text) return "unknown";
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return *text;
}

bool same_boot(const ProcessRecord& record) {
  return record.boot_id == boot_id();
}

Result<std::uint64_t> start_ticks_of(std::uint32_t pid) {
  auto text = detail::read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
  if (!text) return fail(text);
  // The name (field 2) may hold anything, so count from its closing bracket: start time is
  // field 22.
  auto at = text->rfind(')');
  for (int field = 2; at != std::string::npos && field < 22; ++field) at = text->find(' ', at + 1);
  if (at == std::string::npos) return fail("io", "/proc/PID/stat is not as expected");
  return std::strtoull(text->c_str() + at + 1, nullptr, 10);
}

std::optional<net::Fd> find_process(const ProcessRecord& record) {
  if (!same_boot(record)) return std::nullopt;
  net::Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(record.pid), 0)));
  if (!pidfd) return std::nullopt;
  // Checked after the pidfd was taken: if the start time is right now, the pidfd is of that
  // process.
  const auto ticks = start_ticks_of(record.pid);
  if (!ticks || *ticks != record.start_ticks) return std::nullopt;
  pollfd dead{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
  if (poll(&dead, 1, 0) == 1) return std::nullopt;
  return pidfd;
}

void kill_process(const net::Fd& pidfd) {
  syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
}

std::string reap(const net::Fd& pidfd) {
  siginfo_t info{};
  int result = 0;
  do result = waitid(P_PIDFD, static_cast<id_t>(pidfd.get()), &info, WEXITED | WNOHANG);
  while (result != 0 && errno == EINTR);
  if (result != 0 || info.si_pid == 0) return "ended";  // Not our child: nobody tells us how.
  if (info.si_code == CLD_EXITED) return "exit " + std::to_string(info.si_status);
  return "signal " + std::to_string(info.si_status);
}

}  // namespace everspan::supervisor
