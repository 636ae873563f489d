// The session-host: one process a session, started by the agent, outliving it
// (docs/decisions/2026-11-23-agent-and-host.md).
#pragma once

namespace everspan::agent {

// Reads HostStart from standard input, serves until the session has ended. Exit status.
[[nodiscard]] int run_session_host();

}  // namespace everspan::agent
