#include "store/detail/suspect.h"

#include <fcntl.h>

#include <limits>

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
std::string copy_of(const std::string& path) {
  return path + ".new";
}

Result<void> copy_through_reader(const std::string& path) {
  auto db = Database::open_read_only(path);
  if (!db) return fail(db);
  if (auto good = db->integrity_check(); !good) return good;
  auto meta = read_meta(*db);
  if (!meta) return fail(meta);
  if (auto good = verify_chain(*db, *meta, meta->base); !good) return fail(good);
  return db->backup_to(copy_of(path));
}

// Under the write lock, and the old file is fenced before the lock goes: a writer that was
// overlooked adds nothing after the copy, and finds itself superseded.
Result<void> make_copy(const std::string& path) {
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    if (auto gone = remove_file(copy_of(path) + suffix); !gone) return gone;
  }
  Database::Options options;
  options.auto_checkpoint = false;  // The old file stays as it is.
  auto db = Database::open(path, options);
  if (!db) return fail(db);
  auto lock = WriteTransaction::begin(*db);
  if (!lock) return fail(lock);
  if (auto copied = copy_through_reader(path); !copied) return copied;
  auto fenced =
      write_generation(*db, {static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())});
  if (fenced) fenced = lock->commit();
  // The disk refused it: nothing can be added there either.
  if (!fenced) log_warning("log.fence_failed", {{"why", fenced.error().message}});
  return {};
}

}  // namespace

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
    if (auto moved = rename_file(marker(path), replacing(path)); !moved) return moved;
    if (auto synced = sync_folder_of(path); !synced) return synced;
  }
  if (path_exists(copy_of(path))) {
    // The old WAL must never meet the new file.
    for (const char* suffix : {"", "-wal", "-shm"}) {
      if (!path_exists(path + suffix)) continue;
      if (auto moved = rename_file(path + suffix, path + ".old" + suffix); !moved) return moved;
    }
    if (auto synced = sync_folder_of(path); !synced) return synced;
    if (auto moved = rename_file(copy_of(path), path); !moved) return moved;
    if (auto synced = sync_folder_of(path); !synced) return synced;
  }
  if (auto gone = remove_file(marker(path)); !gone) return gone;
  if (auto gone = remove_file(replacing(path)); !gone) return gone;
  log_warning("log.copied_after_io_error", {{"log", path}, {"old", path + ".old"}});
  return sync_folder_of(path);
}

}  // namespace everspan::store::detail
