#include "supervisor/self_check.h"

#include <unistd.h>

#include <algorithm>

#include "supervisor/detail/files.h"

namespace everspan::supervisor {
namespace {

constexpr std::uint32_t kTimeoutDefaultMs = 60'000;
constexpr std::uint32_t kTimeoutMostMs = 3'600'000;  // A rehearsal on a log of hours, not of days.
constexpr std::size_t kLogBytesMax = 1U << 20;
constexpr std::size_t kTailBytes = 600;

}  // namespace

Result<SelfTestJob> start_self_test(const Layout& layout, StartOptions options,
                                    const std::string& key, const SelfTestRequest& request,
                                    Instant now) {
  options.arguments = {"--self-test"};
  if (!request.log_copy.empty()) {
    auto full = detail::absolute(request.log_copy);
    if (!full) return fail(full);
    if (!full->starts_with(layout.incoming() + "/"))
      return fail("bad_request", "The copy of the log lies below the data folder's incoming/");
    options.arguments.push_back(*full);
  }
  options.log_prefix = layout.run() + "/self-test-";
  auto program = Releases(layout).open_program(request.digest);
  if (!program) return fail(program);
  auto started = start_site(*program, options);
  if (!started) return fail(started);
  const auto ms =
      request.timeout_ms == 0 ? kTimeoutDefaultMs : std::min(request.timeout_ms, kTimeoutMostMs);
  SelfTestJob job{.key = key,
                  .process = std::move(*started),
                  .log_path = {},
                  .deadline = now + std::chrono::milliseconds(ms)};
  job.log_path = options.log_prefix + std::to_string(job.process.record.pid) + ".log";
  return job;
}

SelfTestDone finish_self_test(SelfTestJob& job) {
  const auto how = reap(job.process.pidfd);
  SelfTestDone done{.key = job.key, .outcome = {}};
  if (how == "exit 0") {
    done.outcome.ok = true;
  } else {
    const auto log = detail::read_file(job.log_path, kLogBytesMax);
    std::string tail = log ? *log : log.error().message;
    if (tail.size() > kTailBytes) tail.erase(0, tail.size() - kTailBytes);
    done.outcome = Outcome{
        .code = job.late ? "self_test_timeout" : "self_test_failed",
        .message = "The release's self-test failed (" + how + "): " + printable(tail, kTailBytes),
        .next = "What runs was not touched"};
  }
  unlink(job.log_path.c_str());  // A log of nothing but this; if it stays it costs some bytes.
  return done;
}

}  // namespace everspan::supervisor
