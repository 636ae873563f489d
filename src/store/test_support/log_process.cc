// A process of its own for the store's tests: it can be killed and stopped.
//
//   store_log_process write LOG GENERATION THREADS   writes until refused; "A key revision" a line
//   store_log_process hold LOG                        begins to read, says "H", hangs
//   store_log_process look LOG                        reads and exits
//   store_log_process wrong LOG                       reads, opens the file behind SQLite's back,
//   exits store_log_process fail-sync LOG GENERATION NTH    as write, and the NTH fsync fails
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "store/fault_vfs.h"
#include "store/sqlite.h"
#include "store/test_support/log_fixture.h"

namespace {

using namespace everspan;
using namespace everspan::store;

// One write(2) a line: atomic in a pipe, and out before the next write is sent.
void say(const std::string& line) {
  const std::string out = line + "\n";
  if (::write(STDOUT_FILENO, out.data(), out.size()) < 0) ::_exit(3);
}

int write_all(const std::string& path, std::uint64_t generation, int threads,
              const std::string& vfs) {
  auto options = writer_options(path);
  options.vfs = vfs;
  auto writer = LogWriter::open(options);
  if (!writer) return say("E " + writer.error().text()), 4;
  if (auto became = (*writer)->become_writer({generation}); !became)
    return say("E " + became.error().text()), 4;
  std::vector<std::jthread> running;
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&, t] {
      for (int i = 0;; ++i) {
        const std::string key =
            std::to_string(generation) + "-" + std::to_string(t) + "-" + std::to_string(i);
        auto outcome = (*writer)->submit_and_wait(put(key, key, Revision{0}));
        if (!outcome) return say("R " + outcome.error().code);
        say("A " + key + " " + std::to_string(outcome->revision.value));
      }
    });
  }
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
  if (mode == "hold") return hold(path);
  if (mode == "look" || mode == "wrong") return look(path, mode == "wrong");
  return 2;
}
