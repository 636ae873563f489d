// How many acknowledged writes a second the log takes, beside plain SQLite with one fsync a write
// on the same disk in the same run. Rounds are interleaved, so a slow moment of the disk hits all
// alike.
//
//   log_bench [--seconds S=1] [--rounds N=3] [--dir DIR]
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "store/log.h"
#include "store/sqlite.h"

namespace {

using namespace everspan;
using namespace everspan::store;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kRecordBytes = 200;

[[noreturn]] void die(const Error& error) {
  std::fprintf(stderr, "log_bench: %s\n", error.text().c_str());
  std::exit(1);
}

struct Rate {
  double per_second = 0;
  double p50_ms = 0;
  double p99_ms = 0;
};

Rate rate_of(std::vector<double>& latencies_ms, double seconds) {
  if (latencies_ms.empty()) return {};
  std::ranges::sort(latencies_ms);
  const auto at = [&](double q) {
    return latencies_ms[static_cast<std::size_t>(q * static_cast<double>(latencies_ms.size() - 1))];
  };
  return {static_cast<double>(latencies_ms.size()) / seconds, at(0.5), at(0.99)};
}

// Calls `write` again and again from each of `threads` threads.
template <class Write>
Rate measure(int threads, double seconds, const Write& write) {
  std::vector<std::vector<double>> latencies(static_cast<std::size_t>(threads));
  const auto start = Clock::now();
  const auto end =
      start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  {
    std::vector<std::jthread> running;
    for (int t = 0; t < threads; ++t)
      running.emplace_back([&, t] {
        for (int i = 0; Clock::now() < end; ++i) {
          const auto before = Clock::now();
          write(t, i);
          const std::chrono::duration<double, std::milli> took = Clock::now() - before;
          latencies[static_cast<std::size_t>(t)].push_back(took.count());
        }
      });
  }
  const std::chrono::duration<double> took = Clock::now() - start;
  std::vector<double> all;
  for (const auto& it : latencies) all.insert(all.end(), it.begin(), it.end());
  return rate_of(all, took.count());
}

Rate plain_sqlite(Database& db, double seconds) {
  const std::string bytes(kRecordBytes, 'x');
  return measure(1, seconds, [&](int, int i) {
    auto done = db.run("INSERT OR REPLACE INTO plain VALUES(?1, ?2)", std::int64_t{i % 1000},
                       BlobView{bytes});
    if (!done) die(done.error());
  });
}

Rate through_log(LogWriter& writer, int threads, double seconds) {
  const std::string bytes(kRecordBytes, 'x');
  return measure(threads, seconds, [&](int t, int i) {
    Transaction transaction;
    transaction.writes = {
        Write::put("bench", std::to_string(t) + "/" + std::to_string(i % 1000), bytes)};
    auto done = writer.submit_and_wait(std::move(transaction));
    if (!done) die(done.error());
  });
}

struct Arguments {
  double seconds = 1;
  int rounds = 3;
  std::string dir = std::filesystem::temp_directory_path();
};

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i];
    if (name == "--seconds") arguments.seconds = std::atof(argv[i + 1]);
    if (name == "--rounds") arguments.rounds = std::atoi(argv[i + 1]);
    if (name == "--dir") arguments.dir = argv[i + 1];
  }
  if (argc % 2 == 0 || arguments.seconds <= 0 || arguments.rounds <= 0) {
    std::fprintf(stderr, "log_bench [--seconds S] [--rounds N] [--dir DIR]\n");
    std::exit(2);
  }
  return arguments;
}

std::unique_ptr<LogWriter> open_log(const std::string& path) {
  LogWriter::Options options;
  options.path = path;
  options.node_id.bytes.fill(1);
  options.new_site = NewSite{};
  options.now = [] {
    return WallTime{std::chrono::duration_cast<std::chrono::milliseconds>(
                        std::chrono::system_clock::now().time_since_epoch())
                        .count()};
  };
  auto writer = LogWriter::open(options);
  if (!writer) die(writer.error());
  if (auto became = (*writer)->become_writer({1}); !became) die(became.error());
  return std::move(*writer);
}

void run(const Arguments& arguments, const std::string& folder) {
  auto plain = Database::open(folder + "/plain.db", {.access = Database::Access::create});
  if (!plain) die(plain.error());
  auto made = plain->run_script("CREATE TABLE plain(key INTEGER PRIMARY KEY, value BLOB)");
  if (!made) die(made.error());
  const auto writer =
      open_log(folder + "/log.db");  // lint: allow log-by-sqlite-only because it is LogWriter

  std::printf("%-28s %12s %9s %9s %9s\n", "", "writes/s", "p50 ms", "p99 ms", "ratio");
  for (int round = 0; round < arguments.rounds; ++round) {
    const Rate base = plain_sqlite(*plain, arguments.seconds);
    std::printf("%-28s %12.0f %9.2f %9.2f %9s\n", "plain SQLite, fsync each", base.per_second,
                base.p50_ms, base.p99_ms, "1.00");
    for (const int threads : {1, 8, 64}) {
      const Rate log = through_log(*writer, threads, arguments.seconds);
      const std::string name = "log, " + std::to_string(threads) + " writers";
      std::printf("%-28s %12.0f %9.2f %9.2f %9.2f\n", name.c_str(), log.per_second, log.p50_ms,
                  log.p99_ms, log.per_second / base.per_second);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments = parse(argc, argv);
  std::string folder = arguments.dir + "/log-bench-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) {
    std::perror("log_bench: mkdtemp");
    return 1;
  }
  run(arguments, folder);
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  return 0;
}
