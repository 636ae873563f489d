// Staging: a package becomes a release folder that base will run. Two forked processes do it, so
// that base's loop never waits: an unprivileged one verifies and unpacks (foreign bytes meet no
// privileges), a privileged one copies the result, hashing again, into releases/.
//
// The verifier may be another's prey (it runs as the site's user), so nothing that it wrote is
// believed: its trust is a root-owned copy, its word comes by pipe, its files are hashed while
// copied.
#pragma once
#include <sys/types.h>

#include <string>

#include "common/result.h"
#include "net/fd.h"
#include "supervisor/core/slots_types.h"
#include "supervisor/layout.h"

namespace everspan::supervisor {

struct StageJob {
  std::string key;
  pid_t pid = 0;
  net::Fd pidfd;  // Readable: it ended; then finish_stage().
  net::Fd result;
};
// From a program with one thread only: the children go on in C++.
[[nodiscard]] Result<StageJob> start_stage(const Layout& layout, const SiteUser& user,
                                           const std::string& key, const StageRequest& request,
                                           const std::string& security_floor);
[[nodiscard]] StageDone finish_stage(StageJob& job);
void kill_stage(StageJob& job);

}  // namespace everspan::supervisor
