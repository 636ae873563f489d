// The agent: keeps a standing link to the site, starts a session-host for each session that the
// site asks for and a grant allows, and carries the hosts' legs. Replaced or killed at any time:
// hosts stay.
#pragma once
#include <string>

#include "agent/identity.h"

namespace everspan::agent {

struct AgentOptions {
  std::string data;
  std::string host_program;  // Empty: everspan-session-host beside this program.
};

// Until SIGTERM or SIGINT. Exit status.
[[nodiscard]] int run_agent(const AgentOptions& options);

}  // namespace everspan::agent
