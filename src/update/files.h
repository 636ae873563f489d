// Files that must survive a crash: written beside, fsynced, renamed, the folder fsynced. Codes:
// not_found, too_large, disk_full (no space, quota or file-size limit), io.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "common/bytes.h"
#include "common/result.h"

namespace everspan::update {

// Closes at the end of its scope. (net/ has the like, for sockets; update does without net.)
class OwnedFd {
 public:
  explicit OwnedFd(int fd = -1) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  OwnedFd& operator=(OwnedFd&& other) noexcept;
  ~OwnedFd();
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};

[[nodiscard]] std::unexpected<Error> fail_file(std::string what, int errno_value);

[[nodiscard]] Result<std::string> read_file(const std::string& path, std::uint64_t bytes_max);
[[nodiscard]] Result<OwnedFd> open_read(
    const std::string& path);  // Regular files only; no link followed.
[[nodiscard]] Result<std::uint64_t> file_size(int fd);
[[nodiscard]] Result<void> write_all(int fd, Bytes data);
[[nodiscard]] Result<void> sync_fd(int fd, const std::string& what);
[[nodiscard]] Result<void> sync_file(const std::string& path);
[[nodiscard]] Result<void> sync_dir(const std::string& path);
[[nodiscard]] Result<void> write_file_atomic(const std::string& path, std::string_view bytes,
                                             unsigned mode = 0644);
// Made if missing, with its parents.
[[nodiscard]] Result<void> make_dirs(const std::string& path);
[[nodiscard]] std::string parent_of(const std::string& path);

}  // namespace everspan::update
