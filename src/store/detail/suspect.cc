#include "store/detail/suspect.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <limits>

#include "common/failpoint.h"
#include "common/ids.h"
#include "common/log.h"
#include "store/detail/files.h"
#include "store/detail/log_table.h"
#include "store/sqlite.h"

namespace everspan::store::detail {
namespace {

std::string marker(const std::string& path) {
  return path + ".suspect";
}
std::string replacing(const std::string& path) {
  return path + ".replacing";
}

Result<void> copy_through_reader(const std::string& path) {
  auto db = Database::open_read_only(path);
  if (!db) return fail(db);
  if (auto good = db->integrity_check(); !good) return good;
  auto meta = read_meta(*db);
  if (!meta) return fail(meta);
  if (auto good = verify_chain(*db, *meta, meta->base); !good) return fail(good);
  return db->backup_to(replacement_of(path));
}

constexpr Generation kFenced{static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())};

// Under the write lock, and the old file is fenced before the lock goes: a writer that was
// overlooked adds nothing after the copy, and finds itself superseded.
Result<void> make_copy(const std::string& path) {
  Database::Options options;
  options.auto_checkpoint = false;  // The old file stays as it is.
  auto db = Database::open(path, options);
  if (!db) return fail(db);
  auto lock = WriteTransaction::begin(*db);
  if (!lock) return fail(lock);
  auto meta = read_meta(*db);
  if (!meta) return fail(meta);
  // The fence comes after the copy, so that is whole; one made now could not be written.
  if (meta->generation == kFenced && path_exists(replacement_of(path))) return {};
  if (auto gone = remove_replacement(path); !gone) return gone;
  if (auto copied = copy_through_reader(path); !copied) return copied;
  auto fenced = write_generation(*db, kFenced);
  if (fenced) fenced = lock->commit();
  // The disk refused it: nothing can be added there either.
  if (!fenced) log_warning("log.fence_failed", {{"why", fenced.error().message}});
  return {};
}

Result<std::string> read_small(const std::string& path) {
  auto file = File::open(path, O_RDONLY);
  if (!file) return fail(file);
  std::array<char, 256> bytes;
  const ssize_t size = ::read(file->fd(), bytes.data(), bytes.size());
  if (size < 0) return fail_errno("io_error", "Read " + path, errno);
  return std::string(bytes.data(), static_cast<std::size_t>(size));
}

}  // namespace

std::string replacement_of(const std::string& path) {
  return path + ".new";
}

Result<void> remove_replacement(const std::string& path) {
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    if (auto gone = remove_file(replacement_of(path) + suffix); !gone) return gone;
  }
  return {};
}

void mark_suspect(const std::string& log_path) {
  auto made = File::open(marker(log_path), O_CREAT | O_WRONLY);
  Result<void> synced = made ? made->sync() : Result<void>(fail(made));
  if (synced) synced = sync_folder_of(log_path);
  if (!synced) log_error("log.mark_failed", {{"why", synced.error().message}});
}

bool is_suspect(const std::string& log_path) {
  return path_exists(marker(log_path)) || path_exists(replacing(log_path));
}

Result<void> replace_suspect_log(const std::string& path) {
  if (!path_exists(replacing(path))) {
    if (auto copied = make_copy(path); !copied) return copied;
    failpoint("log.replace");
    if (auto moved = rename_file(marker(path), replacing(path)); !moved) return moved;
    if (auto synced = sync_folder_of(path); !synced) return synced;
  }
  return finish_replacing(path);
}

Result<void> mark_replacing(const std::string& path, const std::string& old_suffix) {
  const std::string temporary = replacing(path) + ".writing";
  auto file = File::open(temporary, O_CREAT | O_TRUNC | O_WRONLY);
  if (!file) return fail(file);
  if (auto written = file->write_all(old_suffix); !written) return written;
  if (auto synced = file->sync(); !synced) return synced;
  if (auto moved = rename_file(temporary, replacing(path)); !moved) return moved;
  return sync_folder_of(path);
}

Result<void> finish_replacing(const std::string& path) {
  auto suffix = read_small(replacing(path));
  if (!suffix) return fail(suffix);
  const std::string old = path + (suffix->empty() ? ".old" : *suffix);
  failpoint("log.replace");
  if (path_exists(replacement_of(path))) {
    // The old WAL must never meet the new file.
    for (const char* end : {"", "-wal", "-shm"}) {
      if (!path_exists(path + end)) continue;
      if (auto moved = rename_file(path + end, old + end); !moved) return moved;
      failpoint("log.replace");
    }
    if (auto synced = sync_folder_of(path); !synced) return synced;
    if (auto moved = rename_file(replacement_of(path), path); !moved) return moved;
    failpoint("log.replace");
    if (auto synced = sync_folder_of(path); !synced) return synced;
  }
  if (auto gone = remove_file(marker(path)); !gone) return gone;
  failpoint("log.replace");
  if (auto gone = remove_file(replacing(path)); !gone) return gone;
  log_warning(suffix->empty() ? "log.copied_after_io_error" : "log.replaced_by_snapshot",
              {{"log", path}, {"old", old}});
  return sync_folder_of(path);
}

}  // namespace everspan::store::detail
