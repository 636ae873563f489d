#include "update/package.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "common/bytes.h"
#include "common/crypto.h"
#include "update/detail/unpack.h"
#include "update/files.h"
#include "update/limits.h"

namespace everspan::update {
namespace {

struct WriteCloser {
  void operator()(archive* a) const { archive_write_free(a); }
};
struct EntryCloser {
  void operator()(archive_entry* e) const { archive_entry_free(e); }
};
using Writer = std::unique_ptr<archive, WriteCloser>;

struct Sink {
  int fd = -1;
  Sha256Stream hash;
  std::uint64_t bytes = 0;
  Error error;
};

ssize_t write_sink(archive* self, void* data, const void* bytes, std::size_t size) {
  auto& sink = *static_cast<Sink*>(data);
  const Bytes piece(static_cast<const std::uint8_t*>(bytes), size);
  if (const auto written = write_all(sink.fd, piece); !written) {
    sink.error = written.error();
    archive_set_error(self, EIO, "write");
    return -1;
  }
  sink.hash.add(piece);
  sink.bytes += size;
  return static_cast<ssize_t>(size);
}

class Builder {
 public:
  Builder(Sink& sink) : sink_(sink), archive_(archive_write_new()) {}

  Result<void> open() {
    const bool good =
        archive_write_add_filter_zstd(archive_.get()) == ARCHIVE_OK &&
        archive_write_set_filter_option(archive_.get(), "zstd", "compression-level", "6") ==
            ARCHIVE_OK &&
        archive_write_set_format_ustar(archive_.get()) == ARCHIVE_OK &&
        archive_write_set_bytes_per_block(archive_.get(), 65536) == ARCHIVE_OK &&
        archive_write_set_bytes_in_last_block(archive_.get(), 1) == ARCHIVE_OK &&
        archive_write_open(archive_.get(), &sink_, nullptr, write_sink, nullptr) == ARCHIVE_OK;
    if (!good) return broken();
    return {};
  }
  Result<void> header(const std::string& path, std::uint64_t size, std::uint32_t mode) {
    const std::unique_ptr<archive_entry, EntryCloser> entry(archive_entry_new());
    archive_entry_set_pathname(entry.get(), path.c_str());
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    archive_entry_set_perm(entry.get(), static_cast<mode_t>(mode));
    archive_entry_set_size(entry.get(), static_cast<std::int64_t>(size));
    archive_entry_set_mtime(entry.get(), 0, 0);  // Same input, same bytes.
    if (archive_write_header(archive_.get(), entry.get()) != ARCHIVE_OK) return broken();
    return {};
  }
  Result<void> data(Bytes bytes) {
    const auto put = archive_write_data(archive_.get(), bytes.data(), bytes.size());
    if (put < 0 || static_cast<std::size_t>(put) != bytes.size()) return broken();
    return {};
  }
  Result<void> finish() {
    if (archive_write_close(archive_.get()) != ARCHIVE_OK) return broken();
    return {};
  }

 private:
  [[nodiscard]] std::unexpected<Error> broken() const {
    if (!sink_.error.code.empty()) return std::unexpected(sink_.error);
    const char* why = archive_error_string(archive_.get());
    return fail("io", std::string("Cannot write the package: ") + (why == nullptr ? "?" : why));
  }
  Sink& sink_;
  Writer archive_;
};

// Every byte of the file through `use`, in pieces.
template <class Use>
Result<std::uint64_t> each_piece(const std::string& path, Use use) {
  const auto fd = open_read(path);
  if (!fd) return fail(fd);
  std::vector<std::uint8_t> buffer(256U << 10);
  std::uint64_t bytes = 0;
  for (;;) {
    const ssize_t got = ::read(fd->get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_file("Cannot read " + path, errno);
    if (got == 0) return bytes;
    bytes += static_cast<std::uint64_t>(got);
    if (const Result<void> used = use(Bytes(buffer.data(), static_cast<std::size_t>(got))); !used)
      return fail(used);
  }
}

Result<void> list_files(Manifest& manifest, const std::vector<PackageInput>& inputs) {
  manifest.files.clear();
  for (const PackageInput& input : inputs) {
    Sha256Stream hash;
    const auto size = each_piece(input.source, [&](Bytes piece) -> Result<void> {
      hash.add(piece);
      return {};
    });
    if (!size) return fail(size);
    const Sha256 digest = hash.digest();
    manifest.files.push_back(
        {input.path, *size, to_hex(digest), input.mode == 0644 ? 0644U : 0755U});
  }
  return {};
}

Result<PackageStats> write_package(const Manifest& manifest,
                                   const std::vector<PackageInput>& inputs, int fd) {
  const std::string text = write_manifest(manifest);
  // What we write, we can read: the strict reader checks paths, sizes and doubles.
  if (const auto read = parse_manifest(text); !read) return fail(read);
  Sink sink;
  sink.fd = fd;
  Builder builder(sink);
  auto done = builder.open();
  if (done) done = builder.header("manifest.json", text.size(), 0644);
  if (done) done = builder.data(as_bytes(text));
  for (std::size_t i = 0; done && i < inputs.size(); ++i) {
    const ManifestFile& file = manifest.files[i];
    done = builder.header(file.path, file.size, file.mode);
    if (!done) break;
    const auto size =
        each_piece(inputs[i].source, [&](Bytes piece) { return builder.data(piece); });
    if (!size) return fail(size);
    if (*size != file.size) return fail("io", inputs[i].source + " changed while it was read");
  }
  if (done) done = builder.finish();
  if (!done) return fail(done);
  const Sha256 digest = sink.hash.digest();
  return PackageStats{sha256_hex(text), to_hex(digest), sink.bytes};
}

}  // namespace

Result<PackageStats> build_package(Manifest manifest, const std::vector<PackageInput>& inputs,
                                   const std::string& out_path) {
  if (const auto listed = list_files(manifest, inputs); !listed) return fail(listed);
  const std::string beside = out_path + ".new";
  ::unlink(beside.c_str());
  const OwnedFd fd(::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!fd.valid()) return fail_file("Cannot write " + beside, errno);
  auto stats = write_package(manifest, inputs, fd.get());
  Result<void> kept;
  if (stats) kept = sync_fd(fd.get(), beside);
  if (stats && kept && ::rename(beside.c_str(), out_path.c_str()) != 0)
    kept = fail_file("Cannot replace " + out_path, errno);
  if (!stats || !kept) ::unlink(beside.c_str());
  if (!stats) return stats;
  if (!kept) return fail(kept);
  if (const auto synced = sync_dir(parent_of(out_path)); !synced) return fail(synced);
  return stats;
}

Result<UnpackedPackage> unpack_package(const std::string& package_path,
                                       const std::string& out_dir) {
  const auto fd = open_read(package_path);
  if (!fd) return fail(fd);
  auto unpacked = detail::unpack_fd(fd->get(), out_dir);
  if (!unpacked) return fail(unpacked);
  return std::move(unpacked->package);
}

Result<UnpackedPackage> read_package_manifest(const std::string& package_path) {
  const auto fd = open_read(package_path);
  if (!fd) return fail(fd);
  auto unpacked = detail::unpack_fd(fd->get(), "");
  if (!unpacked) return fail(unpacked);
  return std::move(unpacked->package);
}

}  // namespace everspan::update
