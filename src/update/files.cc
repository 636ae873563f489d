#include "update/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

namespace everspan::update {

OwnedFd& OwnedFd::operator=(OwnedFd&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = other.fd_;
    other.fd_ = -1;
  }
  return *this;
}
OwnedFd::~OwnedFd() {
  if (fd_ >= 0) ::close(fd_);
}

std::unexpected<Error> fail_file(std::string what, int errno_value) {
  const bool full = errno_value == ENOSPC || errno_value == EDQUOT || errno_value == EFBIG;
  if (full) {
    auto error = fail_errno("disk_full", std::move(what), errno_value);
    error.error().next = "Make room on this disk, then try again";
    return error;
  }
  return fail_errno(errno_value == ENOENT ? "not_found" : "io", std::move(what), errno_value);
}

Result<OwnedFd> open_read(const std::string& path) {
  // O_NONBLOCK: a FIFO put in the way must not hold us up; regular files ignore it.
  OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.valid()) return fail_file("Cannot open " + path, errno);
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return fail_file("Cannot look at " + path, errno);
  if (!S_ISREG(info.st_mode)) return fail("io", path + " is no regular file");
  return fd;
}

Result<std::uint64_t> file_size(int fd) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return fail_file("Cannot look at a file", errno);
  return static_cast<std::uint64_t>(info.st_size);
}

Result<std::string> read_file(const std::string& path, std::uint64_t bytes_max) {
  const auto fd = open_read(path);
  if (!fd) return fail(fd);
  std::string out;
  char buffer[65536];
  for (;;) {
    const ssize_t got = ::read(fd->get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_file("Cannot read " + path, errno);
    if (got == 0) return out;
    if (out.size() + static_cast<std::size_t>(got) > bytes_max)
      return fail("too_large", path + " is longer than allowed");
    out.append(buffer, static_cast<std::size_t>(got));
  }
}

Result<void> write_all(int fd, Bytes data) {
  while (!data.empty()) {
    const ssize_t put = ::write(fd, data.data(), data.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return fail_file("Cannot write", errno);
    data = data.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

Result<void> sync_fd(int fd, const std::string& what) {
  if (::fsync(fd) != 0) return fail_file("Cannot make " + what + " durable", errno);
  return {};
}

Result<void> sync_file(const std::string& path) {
  const auto fd = open_read(path);
  if (!fd) return fail(fd);
  return sync_fd(fd->get(), path);
}

Result<void> sync_dir(const std::string& path) {
  const OwnedFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return fail_file("Cannot open " + path, errno);
  return sync_fd(fd.get(), path);
}

std::string parent_of(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

Result<void> write_file_atomic(const std::string& path, std::string_view bytes, unsigned mode) {
  const std::string beside = path + ".new";
  ::unlink(beside.c_str());
  {
    const OwnedFd fd(
        ::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
    if (!fd.valid()) return fail_file("Cannot write " + beside, errno);
    auto written = write_all(fd.get(), as_bytes(bytes));
    if (written) written = sync_fd(fd.get(), beside);
    if (!written) {
      ::unlink(beside.c_str());
      return written;
    }
  }
  if (::rename(beside.c_str(), path.c_str()) != 0) {
    const int why = errno;
    ::unlink(beside.c_str());
    return fail_file("Cannot replace " + path, why);
  }
  return sync_dir(parent_of(path));
}

Result<void> make_dirs(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return fail_file("Cannot make the folder " + path, error.value());
  return {};
}

}  // namespace everspan::update
