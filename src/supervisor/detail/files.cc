#include "supervisor/detail/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

namespace everspan::supervisor::detail {

Result<std::string> read_file(const std::string& path, std::size_t bytes_max) {
  const net::Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return fail_errno("io", "Opening " + path, errno);
  std::string bytes;
  char chunk[64 * 1024];
  for (;;) {
    const auto n = read(file.get(), chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("io", "Reading " + path, errno);
    if (n == 0) return bytes;
    bytes.append(chunk, static_cast<std::size_t>(n));
    if (bytes.size() > bytes_max) return fail("too_large", path + " is too large");
  }
}

namespace {

Result<void> write_all(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const auto n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      return fail_errno(errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? "disk_full" : "io",
                        "Writing " + path, errno);
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

}  // namespace

Result<void> write_file_durably(const std::string& path, std::string_view bytes, mode_t mode) {
  const std::string beside = path + ".new";
  if (unlink(beside.c_str()) != 0 && errno != ENOENT)
    return fail_errno("io", "Removing " + beside, errno);
  {
    const net::Fd file(
        open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
    if (!file) return fail_errno("io", "Making " + beside, errno);
    if (fchmod(file.get(), mode) != 0) return fail_errno("io", "Mode of " + beside, errno);
    if (auto written = write_all(file.get(), bytes, beside); !written) return written;
    if (fsync(file.get()) != 0) return fail_errno("io", "fsync of " + beside, errno);
  }
  if (rename(beside.c_str(), path.c_str()) != 0)
    return fail_errno("io", "Renaming " + beside, errno);
  return sync_folder(folder_of(path));
}

Result<void> sync_folder(const std::string& path) {
  const net::Fd folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) return fail_errno("io", "Opening " + path, errno);
  if (fsync(folder.get()) != 0) return fail_errno("io", "fsync of " + path, errno);
  return {};
}

Result<void> make_folder(const std::string& path, mode_t mode, uid_t uid, gid_t gid) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return fail_errno("io", "Making " + path, errno);
  const net::Fd folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!folder) return fail_errno("io", "Opening the folder " + path, errno);
  if (uid != static_cast<uid_t>(-1) && fchown(folder.get(), uid, gid) != 0)
    return fail_errno("io", "Owner of " + path, errno);
  if (fchmod(folder.get(), mode) != 0) return fail_errno("io", "Mode of " + path, errno);
  return {};
}

bool exists(const std::string& path) {
  struct stat info{};
  return lstat(path.c_str(), &info) == 0;
}

Result<void> remove_tree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return fail("io", "Removing " + path + ": " + error.message());
  return {};
}

std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string name_of(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

Result<std::string> absolute(const std::string& path) {
  std::error_code error;
  auto full = std::filesystem::absolute(path, error).lexically_normal().string();
  if (error) return fail("io", path + ": " + error.message());
  while (full.size() > 1 && full.back() == '/') full.pop_back();
  return full;
}

}  // namespace everspan::supervisor::detail
