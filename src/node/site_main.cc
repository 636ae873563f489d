#include "node/site_main.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/signal_set.hpp>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <string_view>

#include "common/failpoint.h"
#include "common/log.h"
#include "common/version.h"
#include "net/fd.h"
#include "net/io_threads.h"
#include "node/rehearsal.h"
#include "node/release_info.h"
#include "node/sandbox.h"
#include "node/site_process.h"

namespace everspan::node {
namespace {

constexpr int kBaseSocket = 3;

int self_test(const char* log_copy) {
  const Result<void> passed = run_self_test(log_copy);
  if (passed) {
    std::printf("everspan-site %s: self-test passed\n", std::string(program_version()).c_str());
    return 0;
  }
  std::fprintf(stderr, "everspan-site %s: self-test failed: %s\n",
               std::string(program_version()).c_str(), passed.error().text().c_str());
  return 1;
}

// Counted together with base and the other site process; base made the file for as many as are
// armed.
Result<void> share_failpoint_hits(const char* path) {
  const std::size_t bytes = failpoints_armed_count() * sizeof(std::uint64_t);
  const net::Fd file(open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (file.get() < 0) return fail_errno("io", std::string("Opening ") + path, errno);
  struct stat info{};
  if (fstat(file.get(), &info) != 0)
    return fail_errno("io", std::string("Looking at ") + path, errno);
  if (static_cast<std::size_t>(info.st_size) != bytes)
    return fail("bad_failpoint", std::string(path) + " is not for the armed failpoints");
  void* hits = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (hits == MAP_FAILED) return fail_errno("io", std::string("Mapping ") + path, errno);
  failpoints_share_hits(static_cast<std::uint64_t*>(hits));
  return {};
}

// Base makes this environment, and says so only where its own enabling file exists.
Result<void> arm_failpoints() {
  const char* text = std::getenv("EVERSPAN_FAILPOINT");
  const char* enabled = std::getenv("EVERSPAN_FAILPOINTS_ENABLED");
  if (text == nullptr || enabled == nullptr || std::string_view(enabled) != "1") return {};
  const Result<void> parsed = failpoints_enable(text);
  if (!parsed) return fail(parsed);
  const char* hits = std::getenv("EVERSPAN_FAILPOINT_HITS");
  return hits == nullptr ? Result<void>() : share_failpoint_hits(hits);
}

net::Task<> serve(SiteProcess& process, std::promise<Result<void>>& ended) {
  Result<void> result = co_await process.run();
  ended.set_value(std::move(result));
}

int serve_under_base() {
  set_log_program("site");
  signal(SIGXFSZ,
         SIG_IGN);  // A file-size limit is a full disk: an error of the write, not our end.
  const Result<void> armed = arm_failpoints();
  if (!armed) {
    log_error("site.bad_failpoint", {{"why", armed.error().text()}});
    return 2;
  }
  const Result<void> sandboxed = enter_sandbox();
  if (!sandboxed) {
    log_error("site.sandbox", {{"why", sandboxed.error().text()}});
    return 1;
  }
  net::IoThreads control(1);
  net::IoThreads api(1);
  net::IoThreads io(0);
  // Lives until the process ends: other threads may still hold on to it then.
  auto* process = new SiteProcess(control, api, io, net::MessageSocket(net::Fd(kBaseSocket)));
  net::asio::signal_set signals(control.executor(0), SIGTERM, SIGINT);
  auto on_signal = [process](const boost::system::error_code& error, int number) {
    if (!error) process->stop("signal " + std::to_string(number));
  };
  signals.async_wait(std::move(on_signal));

  std::promise<Result<void>> ended;
  std::future<Result<void>> result = ended.get_future();
  net::TaskScope scope(control.executor(0));
  auto start = [&scope, process, &ended] { scope.spawn("site", serve(*process, ended)); };
  net::asio::post(control.executor(0), std::move(start));
  const Result<void> outcome = result.get();
  if (!outcome) log_error("site.ended", {{"why", outcome.error().text()}});
  // Everything durable is flushed by then; destructors of a dozen services in threads that still
  // run would only find new ways to hang.
  std::fflush(nullptr);
  _exit(outcome ? 0 : 1);
}

}  // namespace

int site_main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--version") {
    std::printf("everspan-site %s\n", std::string(program_version()).c_str());
    return 0;
  }
  if (argc == 2 && std::string_view(argv[1]) == "--release-info") {
    std::printf("%s\n", std::string(release_info_json()).c_str());
    return 0;
  }
  if (argc == 3 && std::string_view(argv[1]) == "--self-test") return self_test(argv[2]);
  if (argc != 1 || fcntl(kBaseSocket, F_GETFD) < 0) {
    std::fputs("everspan-site is started by everspan-base. To begin: everspan-base --help\n",
               stderr);
    return 2;
  }
  return serve_under_base();
}

}  // namespace everspan::node
