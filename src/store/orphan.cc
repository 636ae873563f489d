#include "store/orphan.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <limits>

#include "store/detail/files.h"
#include "store/detail/log_table.h"
#include "store/detail/orphan_file.h"

namespace everspan::store {
namespace detail {

Result<std::string> write_orphan(Database& db, const LogMeta& meta, const LogHead& common,
                                 const std::string& folder) {
  if (auto made = make_folder(folder); !made) return fail(made);
  const std::string path =
      folder + "/" + std::to_string(common.revision.next().value) + "-" +
      std::to_string(meta.head.revision.value) + "-" +
      to_hex(Bytes(meta.head.hash.data(), meta.head.hash.size())).substr(0, 16) + ".orphan";
  const std::string temporary = path + ".writing";
  auto file = File::open(temporary, O_CREAT | O_TRUNC | O_WRONLY);
  if (!file) return fail(file);
  if (auto begun = file->write_all(orphan_start(common)); !begun) return fail(begun);
  auto written =
      visit_entries(db, common.revision, meta.head.revision,
                    std::numeric_limits<std::size_t>::max(), [&](LogEntry&& entry, const Sha256&) {
                      return file->write_all(orphan_entry(encode_entry(entry)));
                    });
  if (!written) return fail(written);
  if (auto ended = file->write_all(orphan_end(meta.head.hash)); !ended) return fail(ended);
  if (auto synced = file->sync(); !synced) return fail(synced);
  if (auto named = rename_file(temporary, path); !named) return fail(named);
  if (auto synced = sync_folder_of(path); !synced) return fail(synced);
  return path;
}

}  // namespace detail

Result<Orphan> read_orphan(const std::string& path, const VisitOrphan& visit) {
  auto file = detail::File::open(path, O_RDONLY);
  if (!file) return fail(file);
  std::string bytes;
  std::array<char, 65536> part;
  for (;;) {
    const ssize_t size = ::read(file->fd(), part.data(), part.size());
    if (size < 0) {
      if (errno == EINTR) continue;
      return fail_errno("io_error", "Read " + path, errno);
    }
    if (size == 0) break;
    bytes.append(part.data(), static_cast<std::size_t>(size));
  }
  return walk_orphan(bytes, visit);
}

}  // namespace everspan::store
