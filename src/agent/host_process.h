// Starts a session-host: its own process and session, so that it outlives the agent.
#pragma once
#include <string>

#include "common/result.h"
#include "net/async.h"

namespace everspan::agent {

// `start`: a serialised HostStart, given on standard input. Returns when the host listens.
[[nodiscard]] net::Task<Result<void>> start_host(std::string program, std::string start,
                                                 Instant deadline);

}  // namespace everspan::agent
