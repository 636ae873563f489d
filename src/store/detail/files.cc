#include "store/detail/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

namespace everspan::store::detail {
namespace {

std::string folder_of(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

}  // namespace

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}
File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

Result<File> File::open(const std::string& path, int flags, unsigned mode) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  if (fd < 0) {
    const int error = errno;
    return fail_errno(error == ENOENT ? "not_found" : "io_error", "Open " + path, error);
  }
  return File(fd);
}

Result<void> File::write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return fail_errno(errno == ENOSPC ? "disk_full" : "io_error", "Write", errno);
    }
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Result<void> File::sync() {
  if (::fsync(fd_) != 0) return fail_errno("io_error", "Sync", errno);
  return {};
}

Result<void> sync_folder_of(const std::string& path) {
  auto folder = File::open(folder_of(path), O_RDONLY | O_DIRECTORY);
  if (!folder) return fail(folder);
  return folder->sync();
}

Result<void> sync_file(const std::string& path) {
  auto file = File::open(path, O_RDWR);
  if (!file) return fail(file);
  return file->sync();
}

Result<void> rename_file(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0)
    return fail_errno("io_error", "Rename " + from + " to " + to, errno);
  return {};
}

Result<void> remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return fail_errno("io_error", "Remove " + path, errno);
  return {};
}

bool path_exists(const std::string& path) {
  struct stat unused{};
  return ::lstat(path.c_str(), &unused) == 0;
}

Result<void> make_folder(const std::string& path) {
  std::error_code error;
  const auto parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, error);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return fail_errno("io_error", "Make the folder " + path, errno);
  return {};
}

}  // namespace everspan::store::detail
