#include "agent/program.h"

#include <fcntl.h>
#include <pty.h>
#include <pwd.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace everspan::agent {
namespace {

struct User {
  std::string name = "user";
  std::string home = "/";
  std::string shell = "/bin/sh";
};

User current_user() {
  User user;
  if (const passwd* entry = getpwuid(getuid())) {
    user.name = entry->pw_name;
    if (entry->pw_dir != nullptr && *entry->pw_dir != '\0') user.home = entry->pw_dir;
    if (entry->pw_shell != nullptr && *entry->pw_shell != '\0') user.shell = entry->pw_shell;
  }
  return user;
}

bool may_pass(const std::string& name) {
  return name == "TERM" || name == "LANG" || name == "COLORTERM" || name.starts_with("LC_");
}

std::vector<std::string> environment(const ProgramRequest& request, const User& user) {
  std::vector<std::string> env = {
      "HOME=" + user.home, "USER=" + user.name, "LOGNAME=" + user.name, "SHELL=" + user.shell,
      getuid() == 0 ? "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
                    : "PATH=/usr/local/bin:/usr/bin:/bin"};
  for (const auto& [name, value] : request.env)
    if (may_pass(name) && value.find('\0') == std::string::npos) env.push_back(name + "=" + value);
  return env;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (auto& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

struct Command {
  std::string program;
  std::vector<std::string> argv;
};

Command command_of(const ProgramRequest& request, const User& user) {
  if (request.argv.size() > 1) return {request.argv[0], request.argv};
  if (request.argv.size() == 1) return {user.shell, {user.shell, "-c", request.argv[0]}};
  const std::string name = user.shell.substr(user.shell.rfind('/') + 1);
  return {user.shell, {"-" + name}};  // A login shell, as login(1) says it.
}

// In the child, which has one thread: nothing returns from here.
[[noreturn]] void become(const Command& command, std::vector<std::string> argv,
                         std::vector<std::string> env, const std::string& home) {
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  syscall(SYS_close_range, 3, ~0U, 0);
  if (chdir(home.c_str()) != 0 && chdir("/") != 0) _exit(126);
  umask(022);
  const auto env_pointers = pointers(env);
  const auto argv_pointers = pointers(argv);
  for (const auto& word : env)
    if (word.starts_with("PATH=")) setenv("PATH", word.c_str() + 5, 1);
  execvpe(command.program.c_str(), argv_pointers.data(), env_pointers.data());
  const int error = errno;
  const std::string text = "everspan: " + command.program + ": " + std::strerror(error) + "\n";
  [[maybe_unused]] const ssize_t said = write(2, text.data(), text.size());
  _exit(error == ENOENT ? 127 : 126);
}

Result<net::Fd> watch(pid_t pid) {
  net::Fd fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) return fail_errno("start", "Watching the program", errno);
  return fd;
}

Result<StartedProgram> start_on_terminal(const ProgramRequest& request, const Command& command,
                                         const std::vector<std::string>& env,
                                         const std::string& home) {
  winsize size{.ws_row = request.rows, .ws_col = request.columns};
  int master = -1;
  const pid_t pid = forkpty(&master, nullptr, nullptr, &size);
  if (pid < 0) return fail_errno("start", "Opening a terminal", errno);
  if (pid == 0) become(command, command.argv, env, home);
  StartedProgram out{.pid = pid};
  out.input = net::Fd(master);
  fcntl(master, F_SETFD, FD_CLOEXEC);
  out.output = out.input.duplicate();
  auto watched = watch(pid);
  if (!watched) return fail(watched);
  out.watch = std::move(*watched);
  return out;
}

struct PipePair {
  net::Fd read;
  net::Fd write;
};
Result<PipePair> make_pipe() {
  std::array<int, 2> fds{};
  if (pipe2(fds.data(), O_CLOEXEC) != 0) return fail_errno("start", "Making a pipe", errno);
  return PipePair{net::Fd(fds[0]), net::Fd(fds[1])};
}

Result<StartedProgram> start_on_pipes(const ProgramRequest& request, const Command& command,
                                      const std::vector<std::string>& env,
                                      const std::string& home) {
  auto in = make_pipe();
  auto out = make_pipe();
  auto error = make_pipe();
  if (!in || !out || !error) return fail("start", "No pipes are left");
  const pid_t pid = fork();
  if (pid < 0) return fail_errno("start", "Starting a process", errno);
  if (pid == 0) {
    setsid();
    dup2(in->read.get(), 0);
    dup2(out->write.get(), 1);
    dup2(request.own_error ? error->write.get() : out->write.get(), 2);
    become(command, command.argv, env, home);
  }
  auto watched = watch(pid);
  if (!watched) return fail(watched);
  StartedProgram program{.pid = pid};
  program.watch = std::move(*watched);
  program.input = std::move(in->write);
  program.output = std::move(out->read);
  if (request.own_error) program.error = std::move(error->read);
  return program;
}

struct NamedSignal {
  const char* name;
  int number;
};
constexpr std::array<NamedSignal, 14> kSignals = {{{"HUP", SIGHUP},
                                                   {"INT", SIGINT},
                                                   {"QUIT", SIGQUIT},
                                                   {"ABRT", SIGABRT},
                                                   {"KILL", SIGKILL},
                                                   {"USR1", SIGUSR1},
                                                   {"USR2", SIGUSR2},
                                                   {"PIPE", SIGPIPE},
                                                   {"ALRM", SIGALRM},
                                                   {"TERM", SIGTERM},
                                                   {"CONT", SIGCONT},
                                                   {"TSTP", SIGTSTP},
                                                   {"SEGV", SIGSEGV},
                                                   {"WINCH", SIGWINCH}}};

}  // namespace

Result<StartedProgram> start_program(const ProgramRequest& request) {
  for (const auto& word : request.argv)
    if (word.find('\0') != std::string::npos)
      return fail("bad_command", "A command cannot hold a zero byte");
  const User user = current_user();
  const Command command = command_of(request, user);
  const auto env = environment(request, user);
  return request.terminal ? start_on_terminal(request, command, env, user.home)
                          : start_on_pipes(request, command, env, user.home);
}

void resize_terminal(int terminal, std::uint16_t columns, std::uint16_t rows) {
  const winsize size{.ws_row = rows, .ws_col = columns};
  ioctl(terminal, TIOCSWINSZ, &size);
}

int signal_number(const std::string& name) {
  for (const auto& known : kSignals)
    if (name == known.name) return known.number;
  return 0;
}

std::string signal_name(int number) {
  for (const auto& known : kSignals)
    if (number == known.number) return known.name;
  return std::to_string(number);
}

}  // namespace everspan::agent
