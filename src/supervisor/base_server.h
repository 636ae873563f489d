// The shell around SlotsCore: one thread, one poll(2) loop. Owns the listening sockets, the
// channels to the site processes, their pidfds, staging and self-test jobs, and runs the core's
// actions.
//
// Invariants
//   B1  A Persist that fails ends base (exit 1) with nothing behind it done; the sites go on, and
//       the next base reads what was durable.
//   B2  Exited is told only when the pidfd is readable (and the child reaped), after every message
//       that the process had sent was handled.
//   B3  Listening sockets are closed, never shut down: the sites share them.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "common/result.h"
#include "net/address.h"
#include "supervisor/core/slots_core.h"
#include "supervisor/layout.h"
#include "supervisor/messages.h"

namespace everspan::supervisor {

struct BaseOptions {
  Layout layout;
  SiteUser user;
  net::Address listen;
  NodeId node;
  std::string initial_release;     // Folder or program; used when nothing ran here before.
  std::unique_ptr<SiteInit> init;  // Until the site was made.
  bool joining = false;            // No site is made here; until another node's was shipped.
  std::uint32_t heartbeat_ms = 200;
  bool site_log_inherit = false;  // Sites write to base's standard error.
  std::string site_failpoint;     // EVERSPAN_FAILPOINT for sites; only if allowed here.
  Limits limits;
};

class BaseServer {
 public:
  // Loads the state, finds the processes that it names, listens where the sites can come back.
  static Result<std::unique_ptr<BaseServer>> open(BaseOptions options);
  BaseServer(const BaseServer&) = delete;
  BaseServer& operator=(const BaseServer&) = delete;
  ~BaseServer();

  // Until SIGTERM or SIGINT and the sites have ended: 0. Not durable any more: 1.
  int run();

 private:
  BaseServer();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace everspan::supervisor
