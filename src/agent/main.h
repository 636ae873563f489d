// The agent's command line: `enrol` and `run`.
#pragma once

namespace everspan::agent {

[[nodiscard]] int agent_main(int argc, char** argv);

}  // namespace everspan::agent
