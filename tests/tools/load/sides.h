// The two programs inside load_end.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace load {

struct Options {
  std::string evidence;  // File that this process writes.
  std::string session;   // agent: its name
  std::string prefix;    // console: sessions are PREFIX-0, PREFIX-1, ...
  std::uint32_t sessions = 1;
  std::uint32_t interval_ms = 100;
  std::uint64_t seed = 1;
  std::uint32_t opening_max = 4;  // console: how many may be under way to their first answer
  std::uint32_t finish_s = 30;    // how long an asked end may take
  std::string errors;             // console: where the children's standard error goes
  std::vector<std::string>
      command;  // console: argv of a child; "{session}" and "{seed}" are replaced
};

// Sits at the far end, on standard input and output. 0: ended as asked; 3: the stream ended
// unasked.
int run_agent(const Options& options);

// Runs `sessions` children and speaks to the far end through their pipes. Prints "ready N",
// "failed SESSION", "dropped SESSION" and "closed CLEAN ALL" as lines; a line "stop" on standard
// input, or its end, ends every session in order. 0: all ended clean.
int run_console(const Options& options);

}  // namespace load
