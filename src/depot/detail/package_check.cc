#include "depot/detail/package_check.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

#include "common/bytes.h"
#include "common/crypto.h"
#include "update/files.h"
#include "update/package.h"

namespace everspan::depot::detail {
namespace {

class ScratchDir {
 public:
  ScratchDir() {
    std::error_code error;
    std::string path =
        std::filesystem::temp_directory_path(error).string() + "/everspan-depot-XXXXXX";
    if (!error && ::mkdtemp(path.data()) != nullptr) path_ = path;
  }
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;
  ~ScratchDir() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

Result<std::string> hash_file(const std::string& path) {
  const auto fd = update::open_read(path);
  if (!fd) return fail(fd);
  Sha256Stream hash;
  std::vector<std::uint8_t> buffer(256U << 10);
  for (;;) {
    const ssize_t got = ::read(fd->get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return update::fail_file("Cannot read " + path, errno);
    if (got == 0) break;
    hash.add(Bytes(buffer.data(), static_cast<std::size_t>(got)));
  }
  const Sha256 digest = hash.digest();
  return to_hex(digest);
}

Result<CheckedPackage> check_package(const std::string& path) {
  const auto fd = update::open_read(path);
  if (!fd) return fail(fd);
  const auto bytes = update::file_size(fd->get());
  if (!bytes) return fail(bytes);
  const auto sha256 = hash_file(path);
  if (!sha256) return fail(sha256);
  const ScratchDir scratch;
  if (scratch.path().empty()) return fail("io", "Cannot make a folder for temporary files");
  auto unpacked = update::unpack_package(path, scratch.path() + "/release");
  if (!unpacked) return fail(unpacked);
  return CheckedPackage{std::move(unpacked->manifest), std::move(unpacked->digest), *sha256,
                        *bytes};
}

}  // namespace everspan::depot::detail
