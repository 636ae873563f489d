// The few file operations that stores share, as Results. Never for a file that SQLite has open.
#pragma once
#include <string>
#include <string_view>
#include <utility>

#include "common/result.h"

namespace everspan::store::detail {

class File {
 public:
  File() = default;
  explicit File(int fd) : fd_(fd) {}
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File&& other) noexcept;
  ~File();
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] explicit operator bool() const { return fd_ >= 0; }

  static Result<File> open(const std::string& path, int flags, unsigned mode = 0600);
  [[nodiscard]] Result<void> write_all(std::string_view bytes);
  [[nodiscard]] Result<void> sync();

 private:
  int fd_ = -1;
};

[[nodiscard]] Result<void> sync_folder_of(const std::string& path);
[[nodiscard]] Result<void> sync_file(const std::string& path);
[[nodiscard]] Result<void> rename_file(const std::string& from, const std::string& to);
[[nodiscard]] Result<void> remove_file(const std::string& path);  // Fine when it is not there.
[[nodiscard]] bool path_exists(const std::string& path);
[[nodiscard]] Result<void> make_folder(const std::string& path);  // With parents; 0700.

}  // namespace everspan::store::detail
