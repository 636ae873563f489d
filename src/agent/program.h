// Starts a program for a channel: on a terminal of its own, or on pipes.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/result.h"
#include "net/fd.h"

namespace everspan::agent {

struct ProgramRequest {
  bool terminal = false;
  bool own_error = false;         // Pipes: standard error apart.
  std::vector<std::string> argv;  // Empty: the login shell. One word: a line for the shell.
  std::vector<std::pair<std::string, std::string>> env;  // TERM, LANG, LC_*; others are left out.
  std::uint16_t columns = 80;
  std::uint16_t rows = 24;
};

struct StartedProgram {
  pid_t pid = -1;
  net::Fd watch;   // pidfd: readable when it has ended.
  net::Fd input;   // Its standard input; the terminal.
  net::Fd output;  // Its output; a duplicate of the terminal.
  net::Fd error;   // If asked for.
};

// The child leads a process group (and session) of its own.
[[nodiscard]] Result<StartedProgram> start_program(const ProgramRequest& request);
void resize_terminal(int terminal, std::uint16_t columns, std::uint16_t rows);
// "INT", "TERM", ... to the whole group; 0: not a known name.
[[nodiscard]] int signal_number(const std::string& name);
[[nodiscard]] std::string signal_name(int number);

}  // namespace everspan::agent
