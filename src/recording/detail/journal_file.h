// Files of recordings: names, appending with fdatasync, reading. Blocking.
#pragma once
#include <sys/uio.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace everspan::recording {

struct JournalName {
  std::int64_t started_ms = 0;
  std::uint64_t generation = 0;
  std::uint32_t number = 0;
  [[nodiscard]] std::string text() const;  // <start ms>-<generation>-<n>.rec
  auto operator<=>(const JournalName&) const = default;
};
// Oldest first. Other files in the folder are left alone.
[[nodiscard]] Result<std::vector<JournalName>> list_journals(const std::string& folder);

// Only appends. A failed write or sync leaves the file as it is: begin another one.
class JournalFile {
 public:
  // New, mode 0600; its name is durable in the folder. Codes: exists, io.
  [[nodiscard]] static Result<JournalFile> create(const std::string& folder,
                                                  const JournalName& name);
  JournalFile() = default;
  JournalFile(JournalFile&& other) noexcept;
  JournalFile& operator=(JournalFile&& other) noexcept;
  ~JournalFile();
  // In order, as one. The vector is used up.
  [[nodiscard]] Result<void> append(std::vector<iovec> parts);
  [[nodiscard]] Result<void> sync();
  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
  std::uint64_t size_ = 0;
};

// Bytes from `from` to the file's end, `bytes_max` at most. `sync`: fdatasync it first, so that
// what is read is durable.
[[nodiscard]] Result<std::string> read_journal(const std::string& path, std::uint64_t from,
                                               std::uint64_t bytes_max, bool sync);

}  // namespace everspan::recording
