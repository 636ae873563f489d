// Both ends of the demo's load; tests/tools/README.md says what they exchange and write down.
//
//   load_end console --prefix c1 --sessions 50 --interval-ms 100 --evidence F --errors F
//            -- COMMAND...
//   load_end agent --session c1-0 --interval-ms 100 --evidence F
#include <charconv>
#include <cstdio>
#include <string_view>

#include "load/sides.h"

namespace {

template <class Number>
bool parse(std::string_view text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc{} && end == text.data() + text.size();
}

bool take(load::Options& options, std::string_view name, std::string_view value) {
  if (name == "--evidence")
    options.evidence = value;
  else if (name == "--session")
    options.session = value;
  else if (name == "--prefix")
    options.prefix = value;
  else if (name == "--errors")
    options.errors = value;
  else if (name == "--sessions")
    return parse(value, options.sessions);
  else if (name == "--interval-ms")
    return parse(value, options.interval_ms);
  else if (name == "--seed")
    return parse(value, options.seed);
  else if (name == "--opening")
    return parse(value, options.opening_max);
  else if (name == "--finish-s")
    return parse(value, options.finish_s);
  else
    return false;
  return true;
}

int usage() {
  std::fputs("load_end console|agent --NAME VALUE... [-- COMMAND...]\n", stderr);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return usage();
  load::Options options;
  int at = 2;
  for (; at + 1 < argc && std::string_view(argv[at]) != "--"; at += 2) {
    if (!take(options, argv[at], argv[at + 1])) return usage();
  }
  for (++at; at < argc; ++at) options.command.emplace_back(argv[at]);
  if (options.evidence.empty() || options.interval_ms == 0) return usage();
  const std::string_view side = argv[1];
  if (side == "agent" && !options.session.empty()) return load::run_agent(options);
  if (side == "console" && !options.command.empty() && !options.errors.empty()) {
    return load::run_console(options);
  }
  return usage();
}
