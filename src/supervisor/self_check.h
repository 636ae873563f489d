// Runs a staged release's own self-test: its program, by the verified descriptor, as the site's
// user, with a copy of the log. The last lines that it wrote are the message of a failure.
#pragma once
#include <string>

#include "common/result.h"
#include "supervisor/releases.h"
#include "supervisor/site_process.h"

namespace everspan::supervisor {

struct SelfTestJob {
  std::string key;
  StartedSite process;
  std::string log_path;
  Instant deadline;
  bool late = false;
};
[[nodiscard]] Result<SelfTestJob> start_self_test(const Layout& layout, StartOptions options,
                                                  const std::string& key,
                                                  const SelfTestRequest& request, Instant now);
// The pidfd is readable: reaps, reads and removes the log.
[[nodiscard]] SelfTestDone finish_self_test(SelfTestJob& job);

}  // namespace everspan::supervisor
