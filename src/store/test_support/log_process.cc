// A process of its own for the store's tests: it can be killed and stopped.
//
//   store_log_process write LOG GENERATION THREADS   writes until refused; "A key revision" a line
//   store_log_process hold LOG                        begins to read, says "H", hangs
//   store_log_process look LOG                        reads and exits
//   store_log_process wrong LOG                       reads, opens the file behind SQLite's back,
//   exits store_log_process fail-sync LOG GENERATION NTH    as write, and the NTH fsync fails
//   store_log_process pair PRIMARY FOLLOWER ROUND STEP NTH   two logs, written as a pair; dies at
//   the NTH of that step of MemoryLink's, or with that entry on one log only: `ahead` on the
//   follower's, `behind` on the primary's
//   store_log_process install LOG SNAPSHOT GENERATION NTH   follows; dies at the NTH step of
//   replacing the log by the snapshot; "D" when it did not
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/failpoint.h"
#include "store/fault_vfs.h"
#include "store/sqlite.h"
#include "store/test_support/log_pair.h"

namespace {

using namespace everspan;
using namespace everspan::store;

// One write(2) a line: atomic in a pipe, and out before the next write is sent.
void say(const std::string& line) {
  const std::string out = line + "\n";
  if (::write(STDOUT_FILENO, out.data(), out.size()) < 0) ::_exit(3);
}

void write_until_refused(LogWriter& writer, std::uint64_t round, int threads) {
  std::vector<std::jthread> running;
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&writer, round, t] {
      for (int i = 0;; ++i) {
        const std::string key =
            std::to_string(round) + "-" + std::to_string(t) + "-" + std::to_string(i);
        auto outcome = writer.submit_and_wait(put(key, key, Revision{0}));
        if (!outcome) return say("R " + outcome.error().code);
        say("A " + key + " " + std::to_string(outcome->revision.value));
      }
    });
  }
}

int write_all(const std::string& path, std::uint64_t generation, int threads,
              const std::string& vfs) {
  auto options = writer_options(path);
  options.vfs = vfs;
  auto writer = LogWriter::open(options);
  if (!writer) return say("E " + writer.error().text()), 4;
  if (auto became = (*writer)->become_writer({generation}); !became)
    return say("E " + became.error().text()), 4;
  write_until_refused(**writer, generation, threads);
  return 0;
}

[[noreturn]] void die() {
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

// Dies at a step, whichever thread is first.
class Death {
 public:
  Death(std::string step, int nth) : step_(std::move(step)), left_(nth) {}

  void reached(const std::string& step) {
    if (step_ == "ahead") {
      if (step == "appended") doomed_ = doomed_ || --left_ == 0;
      if (step == "sent" && doomed_) hang();  // Before the primary's fsync.
      if (step == "shipped" && doomed_) die();
    } else if (step == step_ && --left_ == 0) {
      die();
    }
  }
  // Before the follower appends it.
  void admitting(const LogEntry& entry, const std::string& primary) {
    if (step_ != "behind" || --left_ != 0) return;
    auto reader = LogReader::open(primary);
    while (reader && (*reader)->meta() && (*reader)->meta()->head.revision < entry.revision)
      std::this_thread::yield();
    die();
  }

 private:
  static void hang() {
    for (;;) ::pause();
  }

  const std::string step_;
  std::atomic<int> left_;
  std::atomic<bool> doomed_ = false;
};

int write_as_pair(const std::string& primary, const std::string& follower, std::uint64_t round,
                  const std::string& step, int nth) {
  const bool first_leads = primary.ends_with("a.db");
  auto first = first_leads ? writer_options(primary) : follower_options(primary);
  auto second = first_leads ? follower_options(follower) : writer_options(follower);
  auto death = std::make_shared<Death>(step, nth);
  second.admit_shipped = [=](const LogEntry& entry) -> Result<void> {
    death->admitting(entry, primary);
    return {};
  };
  auto pair = ConnectedPair::open(first, second, {round}, {round},
                                  [=](const std::string& at) { death->reached(at); });
  if (!pair) return say("E " + pair.error().text()), 4;
  write_until_refused((*pair)->primary(), round, 4);
  return 0;
}

int install(const std::string& path, const std::string& snapshot, std::uint64_t generation,
            const std::string& nth) {
  if (!failpoints_enable("log.replace:kill:" + nth)) return 4;
  auto writer = LogWriter::open(follower_options(path));
  if (!writer) return say("E " + writer.error().text()), 4;
  (*writer)->refuse_unconfirmed(not_primary());
  if (auto became = (*writer)->become_writer({generation}, LogWriter::Tail::keep); !became)
    return say("E " + became.error().text()), 4;
  auto head = wait_for([&](LogWriter::Advanced done) {
    (*writer)->install_snapshot(snapshot, LogWriter::Replaces::behind, std::move(done));
  });
  if (!head) return say("E " + head.error().text()), 4;
  say("D");
  return 0;
}

int hold(const std::string& path) {
  auto db = Database::open_read_only(path);
  if (!db) return 4;
  auto reading = ReadTransaction::begin(*db);
  if (!reading || !db->integer("SELECT count(*) FROM log")) return 4;
  say("H");
  for (;;) ::pause();
}

int look(const std::string& path, bool wrongly) {
  auto reader = LogReader::open(path);
  if (!reader || !(*reader)->head()) return 4;
  if (!wrongly) return 0;
  const int fd = ::open(path.c_str(), O_RDONLY);
  if (fd < 0) return 4;
  ::close(fd);  // This drops the SQLite locks of this process.
  return (*reader)->head() ? 0 : 4;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::string mode = argv[1];
  const std::string path = argv[2];
  if (mode == "write" && argc == 5)
    return write_all(path, std::strtoull(argv[3], nullptr, 10), std::atoi(argv[4]), "");
  if (mode == "fail-sync" && argc == 5) {
    auto faults = FaultVfs::install("faulty");
    if (!faults) return 4;
    (*faults)->fail(
        {FaultVfs::Call::sync, FaultVfs::Fault::eio, std::strtoull(argv[4], nullptr, 10)});
    return write_all(path, std::strtoull(argv[3], nullptr, 10), 4, "faulty");
  }
  if (mode == "pair" && argc == 7)
    return write_as_pair(path, argv[3], std::strtoull(argv[4], nullptr, 10), argv[5],
                         std::atoi(argv[6]));
  if (mode == "install" && argc == 6)
    return install(path, argv[3], std::strtoull(argv[4], nullptr, 10), argv[5]);
  if (mode == "hold") return hold(path);
  if (mode == "look" || mode == "wrong") return look(path, mode == "wrong");
  return 2;
}
