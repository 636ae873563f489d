#include "agent/main.h"

#include <cstring>
#include <iostream>
#include <map>

#include "agent/agent.h"
#include "common/version.h"

namespace everspan::agent {
namespace {

constexpr int kUsage = 2;

int usage() {
  std::cerr << "everspan-agent enrol --site https://HOST:PORT --token-file F --name N --data DIR"
               " [--user NAME]\n"
               "everspan-agent run --data DIR\n"
               "everspan-agent --version\n";
  return kUsage;
}

// --name value pairs; false: something else is there.
bool read_flags(int argc, char** argv, std::map<std::string, std::string>& flags) {
  for (int i = 2; i < argc; i += 2) {
    if (i + 1 >= argc) return false;
    const auto at = flags.find(argv[i]);
    if (at == flags.end()) return false;
    at->second = argv[i + 1];
  }
  return true;
}

int run_enrol(int argc, char** argv) {
  std::map<std::string, std::string> flags = {
      {"--site", ""}, {"--token-file", ""}, {"--name", ""}, {"--data", ""}, {"--user", ""}};
  if (!read_flags(argc, argv, flags)) return usage();
  const EnrolOptions options{.site = flags["--site"],
                             .token_file = flags["--token-file"],
                             .name = flags["--name"],
                             .data = flags["--data"],
                             .user = flags["--user"]};
  if (options.site.empty() || options.token_file.empty() || options.name.empty() ||
      options.data.empty())
    return usage();
  const auto identity = enrol(options);
  if (!identity) {
    std::cerr << "everspan-agent: " << identity.error().text() << "\n";
    return identity.error().code == "unreachable" ? 4 : 1;
  }
  std::cout << "Enrolled as " << identity->name << " ("
            << to_hex(as_bytes(identity->site.endpoint_id)) << ").\n"
            << "Start it: everspan-agent run --data " << options.data << "\n";
  return 0;
}

}  // namespace

int agent_main(int argc, char** argv) {
  if (argc < 2) return usage();
  if (std::strcmp(argv[1], "--version") == 0) {
    std::cout << "everspan-agent " << program_version() << "\n";
    return 0;
  }
  if (std::strcmp(argv[1], "enrol") == 0) return run_enrol(argc, argv);
  if (std::strcmp(argv[1], "run") != 0) return usage();
  std::map<std::string, std::string> flags = {{"--data", ""}, {"--host-program", ""}};
  if (!read_flags(argc, argv, flags) || flags["--data"].empty()) return usage();
  return run_agent({.data = flags["--data"], .host_program = flags["--host-program"]});
}

}  // namespace everspan::agent
