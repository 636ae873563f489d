#include "recording/detail/journal_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>

namespace everspan::recording {
namespace {

constexpr std::string_view kEnding = ".rec";

template <class Number>
bool take_number(std::string_view& text, char behind, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end == text.data() + text.size() || *end != behind) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()) + 1);
  return true;
}

std::optional<JournalName> parse_name(std::string_view text) {
  JournalName name;
  if (!text.ends_with(kEnding) || !take_number(text, '-', name.started_ms) ||
      !take_number(text, '-', name.generation) || !take_number(text, '.', name.number))
    return std::nullopt;
  return name;
}

Result<void> sync_folder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return fail_errno("io", "Cannot open the folder of recordings", errno);
  const int synced = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  if (synced != 0) return fail_errno("io", "Cannot fsync the folder of recordings", error);
  return {};
}

}  // namespace

std::string JournalName::text() const {
  return fmt::format("{:013}-{}-{:06}{}", started_ms, generation, number, kEnding);
}

Result<std::vector<JournalName>> list_journals(const std::string& folder) {
  DIR* open = ::opendir(folder.c_str());
  if (open == nullptr) return fail_errno("io", "Cannot read the folder of recordings", errno);
  std::vector<JournalName> names;
  while (const dirent* entry = ::readdir(open))
    if (const auto name = parse_name(entry->d_name)) names.push_back(*name);
  ::closedir(open);
  std::ranges::sort(names);
  return names;
}

Result<JournalFile> JournalFile::create(const std::string& folder, const JournalName& name) {
  const auto path = folder + "/" + name.text();
  JournalFile file;
  file.fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
  if (file.fd_ < 0)
    return fail_errno(errno == EEXIST ? "exists" : "io", "Cannot make a file of recordings", errno);
  const auto synced = sync_folder(folder);
  if (!synced) return fail(synced);
  return file;
}

JournalFile::JournalFile(JournalFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}
JournalFile& JournalFile::operator=(JournalFile&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}
JournalFile::~JournalFile() {
  if (fd_ >= 0) ::close(fd_);
}

Result<void> JournalFile::append(std::vector<iovec> parts) {
  for (std::size_t at = 0; at < parts.size();) {
    if (parts[at].iov_len == 0) {
      ++at;
      continue;
    }
    const auto count = std::min<std::size_t>(parts.size() - at, IOV_MAX);
    const auto wrote = ::writev(fd_, parts.data() + at, static_cast<int>(count));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return fail_errno("io", "Cannot write a recording", errno);
    size_ += static_cast<std::uint64_t>(wrote);
    auto left = static_cast<std::size_t>(wrote);
    while (left > 0) {
      auto& part = parts[at];
      const auto used = std::min(left, part.iov_len);
      part.iov_base = static_cast<char*>(part.iov_base) + used;
      part.iov_len -= used;
      left -= used;
      if (part.iov_len == 0) ++at;
    }
  }
  return {};
}

Result<void> JournalFile::sync() {
  if (::fdatasync(fd_) != 0) return fail_errno("io", "Cannot fsync a recording", errno);
  return {};
}

Result<std::string> read_journal(const std::string& path, std::uint64_t from,
                                 std::uint64_t bytes_max, bool sync) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail_errno("io", "Cannot open a recording", errno);
  struct stat status{};
  std::string bytes;
  int error = sync && ::fdatasync(fd) != 0 ? errno : 0;
  if (error == 0 && ::fstat(fd, &status) != 0) error = errno;
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (error == 0 && size > from) bytes.resize(std::min(size - from, bytes_max));
  std::size_t have = 0;
  while (error == 0 && have < bytes.size()) {
    const auto got =
        ::pread(fd, bytes.data() + have, bytes.size() - have, static_cast<off_t>(from + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) error = errno;
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
  }
  ::close(fd);
  if (error != 0) return fail_errno("io", "Cannot read a recording", error);
  bytes.resize(have);
  return bytes;
}

}  // namespace everspan::recording
