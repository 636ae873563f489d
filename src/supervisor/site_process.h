// Starts and watches one site process. Linux: pidfd, execveat by descriptor, SOCK_SEQPACKET on 3.
//
// The child gets: descriptor 3 (its channel to base), /dev/null as input, its log as output and
// error, nothing else; its own session; no privileges (where base has some); no_new_privs; no death
// signal, so it lives on when base dies.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/result.h"
#include "net/fd.h"
#include "net/message_socket.h"
#include "supervisor/core/slots_types.h"
#include "supervisor/layout.h"

namespace everspan::supervisor {

struct StartOptions {
  std::string log_prefix;  // "<prefix><pid>.log"; empty: base's own standard error.
  SiteUser user;
  std::vector<std::string> environment;  // "NAME=value"
  std::vector<std::string> arguments;    // After the program's name.
};
struct StartedSite {
  ProcessRecord record;
  net::Fd pidfd;
  net::MessageSocket channel;
};
// `program` was opened and hashed by the caller. Waits until the program runs (or could not be
// run).
[[nodiscard]] Result<StartedSite> start_site(const net::Fd& program, const StartOptions& options);

// The process of the record if it lives; nullopt: it is gone (or the pid is another's now).
[[nodiscard]] std::optional<net::Fd> find_process(const ProcessRecord& record);
[[nodiscard]] bool same_boot(const ProcessRecord& record);
[[nodiscard]] std::string boot_id();
[[nodiscard]] Result<std::uint64_t> start_ticks_of(std::uint32_t pid);
// SIGKILL by pidfd: never hits another process.
void kill_process(const net::Fd& pidfd);
// How the process of a readable pidfd ended. Reaps it if it is our child.
[[nodiscard]] std::string reap(const net::Fd& pidfd);

}  // namespace everspan::supervisor
