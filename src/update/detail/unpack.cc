#include "update/detail/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <set>
#include <system_error>
#include <vector>

#include "common/bytes.h"
#include "common/crypto.h"
#include "update/files.h"
#include "update/limits.h"

namespace everspan::update::detail {
namespace {

constexpr std::size_t kChunkBytes = 256U << 10;

[[nodiscard]] std::unexpected<Error> bad(std::string what) {
  return fail("bad_package", "The package is malformed: " + std::move(what),
              "Nothing was installed");
}

// Feeds libarchive from the descriptor and hashes every byte on the way: what is unpacked is what
// is hashed, even if somebody writes to the file meanwhile.
struct Source {
  explicit Source(int fd) : fd(fd), buffer(kChunkBytes) {}
  int fd;
  std::vector<std::uint8_t> buffer;
  Sha256Stream hash;
  std::uint64_t bytes = 0;
  int error = 0;

  ssize_t more() {
    for (;;) {
      const ssize_t got = ::read(fd, buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) error = errno;
      if (got > 0) {
        hash.add(Bytes(buffer.data(), static_cast<std::size_t>(got)));
        bytes += static_cast<std::uint64_t>(got);
      }
      return got;
    }
  }
};

ssize_t read_source(archive* self, void* data, const void** out) {
  auto& source = *static_cast<Source*>(data);
  const ssize_t got = source.more();
  if (got < 0) archive_set_error(self, source.error, "read");
  *out = source.buffer.data();
  return got;
}

struct ArchiveCloser {
  void operator()(archive* a) const { archive_read_free(a); }
};

class Unpacker {
 public:
  Unpacker(Source& source, std::string out_dir)
      : source_(source), out_dir_(std::move(out_dir)), archive_(archive_read_new()) {}

  Result<UnpackedPackage> run() {
    archive_read_support_filter_zstd(archive_.get());
    archive_read_support_format_tar(archive_.get());
    if (archive_read_open(archive_.get(), &source_, nullptr, read_source, nullptr) != ARCHIVE_OK)
      return broken();
    auto package = read_manifest();
    if (!package || out_dir_.empty()) return package;
    if (const auto first = put_file("manifest.json", 0644, as_bytes(manifest_bytes_)); !first)
      return fail(first);
    for (const ManifestFile& file : package->manifest.files)
      if (const auto done = unpack_file(file); !done) return fail(done);
    archive_entry* entry = nullptr;
    const int end = archive_read_next_header(archive_.get(), &entry);
    if (end == ARCHIVE_OK) return bad("it holds files that its manifest does not name");
    if (end != ARCHIVE_EOF) return broken();
    if (const auto synced = sync_dirs(); !synced) return fail(synced);
    return package;
  }

 private:
  [[nodiscard]] std::unexpected<Error> broken() const {
    if (source_.error != 0) return fail_file("Cannot read the package", source_.error);
    const char* why = archive_error_string(archive_.get());
    return bad(why == nullptr ? "unreadable" : printable(why, 120));
  }

  // The next entry, which must be a plain file of this name and size.
  Result<void> next_entry(std::string_view path, std::uint64_t size, bool exact_size) {
    archive_entry* entry = nullptr;
    const int state = archive_read_next_header(archive_.get(), &entry);
    if (state == ARCHIVE_EOF) return bad("'" + std::string(path) + "' is missing");
    if (state != ARCHIVE_OK) return broken();
    const char* name = archive_entry_pathname(entry);
    if (name == nullptr || path != name)
      return bad("found '" + printable(name == nullptr ? "" : name, 80) + "' where '" +
                 std::string(path) + "' belongs");
    const bool plain =
        archive_entry_filetype(entry) == AE_IFREG && archive_entry_hardlink(entry) == nullptr &&
        archive_entry_symlink(entry) == nullptr && archive_entry_sparse_count(entry) == 0;
    if (!plain) return bad("'" + std::string(path) + "' is no plain file");
    const auto said = archive_entry_size(entry);
    if (said < 0 || (exact_size ? static_cast<std::uint64_t>(said) != size
                                : static_cast<std::uint64_t>(said) > size))
      return bad("'" + std::string(path) + "' has another size than the manifest says");
    return {};
  }

  Result<UnpackedPackage> read_manifest() {
    if (const auto entry = next_entry("manifest.json", kManifestBytesMax, false); !entry)
      return fail(entry);
    std::vector<char> buffer(65536);
    for (;;) {
      const auto got = archive_read_data(archive_.get(), buffer.data(), buffer.size());
      if (got < 0) return broken();
      if (got == 0) break;
      manifest_bytes_.append(buffer.data(), static_cast<std::size_t>(got));
      if (manifest_bytes_.size() > kManifestBytesMax) return bad("its manifest is too long");
    }
    auto manifest = parse_manifest(manifest_bytes_);
    if (!manifest) return fail(manifest);
    return UnpackedPackage{std::move(*manifest), sha256_hex(manifest_bytes_)};
  }

  Result<OwnedFd> create(const std::string& path, std::uint32_t mode) {
    // Safe by is_safe_path: relative, no dots. The folder is fresh and ours, so nothing in it is a
    // link.
    for (auto slash = path.find('/'); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
      const std::string dir = out_dir_ + "/" + path.substr(0, slash);
      if (!dirs_.insert(dir).second) continue;
      if (::mkdir(dir.c_str(), 0755) != 0) return fail_file("Cannot make the folder " + dir, errno);
    }
    const std::string full = out_dir_ + "/" + path;
    OwnedFd fd(::open(full.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
    if (!fd.valid()) return fail_file("Cannot write " + full, errno);
    if (::fchmod(fd.get(), mode) != 0) return fail_file("Cannot set the mode of " + full, errno);
    return fd;
  }

  Result<void> put_file(const std::string& path, std::uint32_t mode, Bytes bytes) {
    const auto fd = create(path, mode);
    if (!fd) return fail(fd);
    if (const auto written = write_all(fd->get(), bytes); !written) return written;
    return sync_fd(fd->get(), path);
  }

  Result<void> unpack_file(const ManifestFile& file) {
    if (const auto entry = next_entry(file.path, file.size, true); !entry) return entry;
    const auto fd = create(file.path, file.mode);
    if (!fd) return fail(fd);
    Sha256Stream hash;
    std::uint64_t bytes = 0;
    buffer_.resize(kChunkBytes);
    for (;;) {
      const auto got = archive_read_data(archive_.get(), buffer_.data(), buffer_.size());
      if (got < 0) return broken();
      if (got == 0) break;
      const Bytes piece(buffer_.data(), static_cast<std::size_t>(got));
      bytes += piece.size();
      if (bytes > file.size) return bad("'" + file.path + "' is longer than the manifest says");
      hash.add(piece);
      if (const auto written = write_all(fd->get(), piece); !written) return written;
    }
    const Sha256 digest = hash.digest();
    if (bytes != file.size || to_hex(digest) != file.sha256)
      return fail("bad_hash", "'" + file.path + "' is not the file that the manifest names",
                  "Nothing was installed");
    return sync_fd(fd->get(), file.path);
  }

  Result<void> sync_dirs() {
    for (const std::string& dir : dirs_)
      if (const auto synced = sync_dir(dir); !synced) return synced;
    return sync_dir(out_dir_);
  }

  Source& source_;
  std::string out_dir_;
  std::unique_ptr<archive, ArchiveCloser> archive_;
  std::string manifest_bytes_;
  std::set<std::string> dirs_;
  std::vector<std::uint8_t> buffer_;
};

}  // namespace

Result<UnpackResult> unpack_fd(int fd, const std::string& out_dir) {
  if (::lseek(fd, 0, SEEK_SET) != 0) return fail_file("Cannot rewind the package", errno);
  if (!out_dir.empty() && ::mkdir(out_dir.c_str(), 0755) != 0)
    return fail_file("Cannot make the folder " + out_dir, errno);
  Source source(fd);
  auto package = Unpacker(source, out_dir).run();
  if (!package) {
    if (!out_dir.empty()) remove_tree(out_dir);
    return fail(package);
  }
  if (!out_dir.empty()) {
    while (source.more() > 0) {
    }  // What follows the archive's end is hashed as well.
    if (const auto synced = sync_dir(parent_of(out_dir)); !synced) {
      remove_tree(out_dir);
      return fail(synced);
    }
  }
  const Sha256 digest = source.hash.digest();
  return UnpackResult{std::move(*package), to_hex(digest), source.bytes};
}

void remove_tree(const std::string& dir) {
  std::error_code ignored;  // What is left is not used: a release is named by a complete folder.
  std::filesystem::remove_all(dir, ignored);
}

}  // namespace everspan::update::detail
