#include "store/fault_vfs.h"

#include <sqlite3.h>
#include <sys/stat.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#include "common/failpoint.h"
#include "common/log.h"

namespace everspan::store {
namespace {
constexpr std::string_view kSyncPoint = "log.sync";
constexpr std::string_view kWritePoint = "log.write";
}  // namespace

struct FaultVfs::State {
  std::string name;
  sqlite3_vfs vfs{};
  sqlite3_vfs* real = nullptr;
  mutable std::mutex mutex;
  std::optional<Plan> plan;
  std::array<std::uint64_t, 2> calls{};
  bool fired = false;
  bool asks_failpoints = false;

  // The code to fail with, or SQLITE_OK.
  int on_call(Call call) {
    const int code = call == Call::sync ? SQLITE_IOERR_FSYNC : SQLITE_IOERR_WRITE;
    if (asks_failpoints && failpoint(call == Call::sync ? kSyncPoint : kWritePoint)) return code;
    const std::lock_guard lock(mutex);
    const std::uint64_t n = ++calls[static_cast<std::size_t>(call)];
    if (!plan || plan->call != call) return SQLITE_OK;
    if (n != plan->nth && !(plan->and_all_after && n > plan->nth)) return SQLITE_OK;
    fired = true;
    if (plan->fault == Fault::enospc) return SQLITE_FULL;
    return code;
  }
};

namespace {

// What SQLite sees; the real file follows it in the same memory.
struct FaultFile {
  sqlite3_file base;
  FaultVfs::State* state;
  sqlite3_file* real;
};

FaultFile& self(sqlite3_file* file) {
  return *reinterpret_cast<FaultFile*>(file);
}
sqlite3_file* real_of(sqlite3_file* file) {
  return self(file).real;
}
const sqlite3_io_methods& methods_of(sqlite3_file* file) {
  return *real_of(file)->pMethods;
}
FaultVfs::State& state_of(sqlite3_vfs* vfs) {
  return *static_cast<FaultVfs::State*>(vfs->pAppData);
}

constexpr sqlite3_io_methods kMethods{
    .iVersion = 3,
    .xClose = [](sqlite3_file* f) { return methods_of(f).xClose(real_of(f)); },
    .xRead = [](sqlite3_file* f, void* to, int size,
                sqlite3_int64 at) { return methods_of(f).xRead(real_of(f), to, size, at); },
    .xWrite =
        [](sqlite3_file* f, const void* from, int size, sqlite3_int64 at) {
          if (const int code = self(f).state->on_call(FaultVfs::Call::write); code != SQLITE_OK)
            return code;
          return methods_of(f).xWrite(real_of(f), from, size, at);
        },
    .xTruncate = [](sqlite3_file* f,
                    sqlite3_int64 size) { return methods_of(f).xTruncate(real_of(f), size); },
    .xSync =
        [](sqlite3_file* f, int flags) {
          if (const int code = self(f).state->on_call(FaultVfs::Call::sync); code != SQLITE_OK)
            return code;
          return methods_of(f).xSync(real_of(f), flags);
        },
    .xFileSize = [](sqlite3_file* f,
                    sqlite3_int64* size) { return methods_of(f).xFileSize(real_of(f), size); },
    .xLock = [](sqlite3_file* f, int kind) { return methods_of(f).xLock(real_of(f), kind); },
    .xUnlock = [](sqlite3_file* f, int kind) { return methods_of(f).xUnlock(real_of(f), kind); },
    .xCheckReservedLock =
        [](sqlite3_file* f, int* out) { return methods_of(f).xCheckReservedLock(real_of(f), out); },
    .xFileControl = [](sqlite3_file* f, int op,
                       void* arg) { return methods_of(f).xFileControl(real_of(f), op, arg); },
    .xSectorSize = [](sqlite3_file* f) { return methods_of(f).xSectorSize(real_of(f)); },
    .xDeviceCharacteristics =
        [](sqlite3_file* f) { return methods_of(f).xDeviceCharacteristics(real_of(f)); },
    .xShmMap =
        [](sqlite3_file* f, int page, int size, int extend, void volatile** out) {
          return methods_of(f).xShmMap(real_of(f), page, size, extend, out);
        },
    .xShmLock = [](sqlite3_file* f, int offset, int n,
                   int flags) { return methods_of(f).xShmLock(real_of(f), offset, n, flags); },
    .xShmBarrier = [](sqlite3_file* f) { methods_of(f).xShmBarrier(real_of(f)); },
    .xShmUnmap = [](sqlite3_file* f,
                    int remove) { return methods_of(f).xShmUnmap(real_of(f), remove); },
    // Without memory-mapped reads every byte passes xRead; SQLite takes a null page as "use xRead".
    .xFetch =
        [](sqlite3_file*, sqlite3_int64, int, void** out) {
          *out = nullptr;
          return SQLITE_OK;
        },
    .xUnfetch = [](sqlite3_file*, sqlite3_int64, void*) { return SQLITE_OK; },
};

int open_file(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* out_flags) {
  FaultFile& it = self(file);
  it.base.pMethods = nullptr;
  it.state = &state_of(vfs);
  it.real = reinterpret_cast<sqlite3_file*>(&it + 1);
  sqlite3_vfs* real = it.state->real;
  const int result = real->xOpen(real, path, it.real, flags, out_flags);
  if (it.real->pMethods != nullptr) it.base.pMethods = &kMethods;
  return result;
}

}  // namespace

FaultVfs::FaultVfs(std::unique_ptr<State> state) : state_(std::move(state)) {}
FaultVfs::~FaultVfs() {
  sqlite3_vfs_unregister(&state_->vfs);
}

Result<std::unique_ptr<FaultVfs>> FaultVfs::install(const std::string& name) {
  auto state = std::make_unique<State>();
  state->real = sqlite3_vfs_find(nullptr);
  if (state->real == nullptr) return everspan::fail("db_error", "SQLite has no file system");
  if (sqlite3_vfs_find(name.c_str()) != nullptr)
    return everspan::fail("db_error", "The VFS " + name + " exists already");
  state->name = name;
  // All but opening is the real one's: its functions do not look at their first argument's size.
  state->vfs = *state->real;
  state->vfs.pNext = nullptr;
  state->vfs.zName = state->name.c_str();
  state->vfs.szOsFile = static_cast<int>(sizeof(FaultFile)) + state->real->szOsFile;
  state->vfs.pAppData = state.get();
  state->vfs.xOpen = open_file;
  if (const int result = sqlite3_vfs_register(&state->vfs, 0); result != SQLITE_OK)
    return everspan::fail("db_error", sqlite3_errstr(result));
  return std::unique_ptr<FaultVfs>(new FaultVfs(std::move(state)));
}

void FaultVfs::fail(const Plan& plan) {
  const std::lock_guard lock(state_->mutex);
  state_->plan = plan;
  state_->calls = {};
  state_->fired = false;
}
void FaultVfs::ask_failpoints() {
  state_->asks_failpoints = true;
}
void FaultVfs::heal() {
  const std::lock_guard lock(state_->mutex);
  state_->plan.reset();
  state_->calls = {};
}
std::uint64_t FaultVfs::calls(Call call) const {
  const std::lock_guard lock(state_->mutex);
  return state_->calls[static_cast<std::size_t>(call)];
}
bool FaultVfs::fired() const {
  const std::lock_guard lock(state_->mutex);
  return state_->fired;
}
const std::string& FaultVfs::name() const {
  return state_->name;
}

Result<Failpoint> parse_failpoint(std::string_view text) {
  const auto bad = [] {
    return everspan::fail("bad_failpoint", "A failpoint is name:action:nth, as in log.sync:eio:3");
  };
  Failpoint point;
  const auto first = text.find(':');
  if (first == std::string_view::npos || first == 0) return bad();
  const auto second = text.find(':', first + 1);
  if (second == std::string_view::npos || second == first + 1) return bad();
  point.name = text.substr(0, first);
  point.action = text.substr(first + 1, second - first - 1);
  const auto nth = text.substr(second + 1);
  const auto parsed = std::from_chars(nth.data(), nth.data() + nth.size(), point.nth);
  if (parsed.ec != std::errc() || parsed.ptr != nth.data() + nth.size() || point.nth == 0)
    return bad();
  return point;
}

Result<std::optional<Failpoint>> failpoint_from_environment(const std::string& enabling_file) {
  const char* text = std::getenv("EVERSPAN_FAILPOINT");
  if (text == nullptr) return std::optional<Failpoint>();
  struct stat info{};
  const bool allowed = ::lstat(enabling_file.c_str(), &info) == 0 && S_ISREG(info.st_mode) &&
                       info.st_uid == 0 && (info.st_mode & (S_IWGRP | S_IWOTH)) == 0;
  if (!allowed) {
    log_warning("failpoint.ignored", {{"enabling_file", enabling_file}});
    return std::optional<Failpoint>();
  }
  auto point = parse_failpoint(text);
  if (!point) return everspan::fail(point);
  log_warning("failpoint.armed", {{"failpoint", text}});
  return std::optional(std::move(*point));
}

Result<std::unique_ptr<FaultVfs>> fault_vfs_for_armed() {
  const std::string armed = failpoints_armed();
  if (armed.find(kSyncPoint) == std::string::npos && armed.find(kWritePoint) == std::string::npos)
    return std::unique_ptr<FaultVfs>();
  auto vfs = FaultVfs::install("everspan-failpoints");
  if (!vfs) return everspan::fail(vfs);
  (*vfs)->ask_failpoints();
  return vfs;
}

Result<std::unique_ptr<FaultVfs>> fault_vfs_for(const Failpoint& failpoint) {
  FaultVfs::Plan plan;
  if (failpoint.name == kSyncPoint)
    plan.call = FaultVfs::Call::sync;
  else if (failpoint.name == kWritePoint)
    plan.call = FaultVfs::Call::write;
  else
    return std::unique_ptr<FaultVfs>();
  if (failpoint.action == "eio")
    plan.fault = FaultVfs::Fault::eio;
  else if (failpoint.action == "enospc")
    plan.fault = FaultVfs::Fault::enospc;
  else
    return everspan::fail("bad_failpoint", "The log can fail with eio or enospc");
  plan.nth = failpoint.nth;
  auto vfs = FaultVfs::install("everspan-failpoint");
  if (!vfs) return everspan::fail(vfs);
  (*vfs)->fail(plan);
  return vfs;
}

}  // namespace everspan::store
