#include "store/blobs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>

#include "common/crypto.h"
#include "store/detail/files.h"

namespace everspan::store {
namespace {

constexpr std::size_t kPieceBytes = 64 * 1024;

bool good_name(std::string_view name) {
  return name.size() == 64 && std::ranges::all_of(name, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

std::string hex(const Sha256& hash) {
  return to_hex(Bytes(hash.data(), hash.size()));
}

Result<void> read_pieces(const std::string& path,
                         const std::function<Result<void>(std::string_view)>& take) {
  auto file = detail::File::open(path, O_RDONLY);
  if (!file) return fail(file);
  std::string piece(kPieceBytes, '\0');
  for (;;) {
    const ssize_t got = ::read(file->fd(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("io_error", "Read " + path, errno);
    if (got == 0) return {};
    if (auto taken = take(std::string_view(piece).substr(0, static_cast<std::size_t>(got))); !taken)
      return taken;
  }
}

// Under DIR/tmp until renamed; removed when dropped before that.
struct Temporary {
  std::string path;
  ~Temporary() {
    if (!path.empty()) ::unlink(path.c_str());
  }
};

Result<std::string> settle(const std::string& dir, detail::File& file, Temporary& temporary,
                           const std::string& name) {
  if (auto synced = file.sync(); !synced) return fail(synced);
  const std::string folder = dir + "/" + name.substr(0, 2);
  if (auto made = detail::make_folder(folder); !made) return fail(made);
  const std::string path = folder + "/" + name.substr(2);
  if (auto moved = detail::rename_file(temporary.path, path); !moved) return fail(moved);
  temporary.path.clear();
  if (auto synced = detail::sync_folder_of(path); !synced) return fail(synced);
  if (auto synced = detail::sync_folder_of(folder); !synced) return fail(synced);
  return name;
}

Result<detail::File> make_temporary(const std::string& dir, Temporary& temporary) {
  const std::string path = dir + "/tmp/" + to_hex(as_bytes(random_bytes(16)));
  auto file = detail::File::open(path, O_CREAT | O_EXCL | O_WRONLY);
  if (file) temporary.path = path;
  return file;
}

}  // namespace

Result<Blobs> Blobs::open(const std::string& dir) {
  if (auto made = detail::make_folder(dir); !made) return fail(made);
  if (auto made = detail::make_folder(dir + "/tmp"); !made) return fail(made);
  return Blobs(dir);
}

Result<std::string> Blobs::put(std::string_view bytes) {
  const std::string name = sha256_hex(bytes);
  if (exists(name)) return name;
  Temporary temporary;
  auto file = make_temporary(dir_, temporary);
  if (!file) return fail(file);
  if (auto written = file->write_all(bytes); !written) return fail(written);
  return settle(dir_, *file, temporary, name);
}

Result<std::string> Blobs::put_file(const std::string& path) {
  Temporary temporary;
  auto file = make_temporary(dir_, temporary);
  if (!file) return fail(file);
  Sha256Stream hash;  // Of what was copied, should the source change meanwhile.
  auto copied = read_pieces(path, [&](std::string_view piece) {
    hash.add(as_bytes(piece));
    return file->write_all(piece);
  });
  if (!copied) return fail(copied);
  const std::string name = hex(hash.digest());
  if (exists(name)) return name;
  return settle(dir_, *file, temporary, name);
}

Result<std::string> Blobs::path(std::string_view name) const {
  if (!good_name(name)) return fail("bad_blob", "A blob's name is 64 hex digits");
  std::string path =
      dir_ + "/" + std::string(name.substr(0, 2)) + "/" + std::string(name.substr(2));
  if (!detail::path_exists(path)) return fail("not_found", "There is no such blob here");
  return path;
}

Result<std::string> Blobs::get(std::string_view name, std::size_t bytes_max) const {
  auto where = path(name);
  if (!where) return fail(where);
  std::string bytes;
  auto read = read_pieces(*where, [&](std::string_view piece) -> Result<void> {
    if (bytes.size() + piece.size() > bytes_max)
      return fail("too_large", "The blob is larger than expected");
    bytes += piece;
    return {};
  });
  if (!read) return fail(read);
  if (sha256_hex(bytes) != name) return fail("bad_blob", "The blob was changed on the disk");
  return bytes;
}

bool Blobs::exists(std::string_view name) const {
  return path(name).has_value();
}

Result<void> Blobs::verify(std::string_view name) const {
  auto where = path(name);
  if (!where) return fail(where);
  Sha256Stream hash;
  auto read = read_pieces(*where, [&](std::string_view piece) -> Result<void> {
    hash.add(as_bytes(piece));
    return {};
  });
  if (!read) return read;
  if (hex(hash.digest()) != name) return fail("bad_blob", "The blob was changed on the disk");
  return {};
}

}  // namespace everspan::store
