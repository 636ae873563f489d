#include "net/small_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "net/fd.h"

namespace everspan::net {
namespace {

Result<void> store_names_beside(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const Fd parent(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!parent || fsync(parent.get()) != 0)
    return fail_errno("io", "Storing the name " + path, errno);
  return {};
}

Result<void> write_whole(const Fd& file, const std::string& path, const std::string& bytes) {
  // What an interrupted write left may have another mode.
  if (fchmod(file.get(), 0600) != 0) return fail_errno("io", "Closing off " + path, errno);
  for (std::size_t put = 0; put < bytes.size();) {
    const ssize_t n = ::write(file.get(), bytes.data() + put, bytes.size() - put);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("io", "Writing " + path, errno);
    put += static_cast<std::size_t>(n);
  }
  if (fsync(file.get()) != 0) return fail_errno("io", "Storing " + path, errno);
  return {};
}

// Never cut to nothing before it is written: what it takes on the disk stays its own.
Result<Fd> open_room(const std::string& spare) {
  Fd file(open(spare.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return fail_errno("io", "Making " + spare, errno);
  const int error = posix_fallocate(file.get(), 0, kRoomBytes);
  if (error != 0) return fail_errno("io", "Keeping room in " + spare, error);
  return file;
}

}  // namespace

Result<std::optional<std::string>> read_small_file(const std::string& path, std::size_t bytes_max,
                                                   Secrecy secrecy) {
  const bool secret = secrecy == Secrecy::owner_only;
  const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | (secret ? O_NOFOLLOW | O_NONBLOCK : 0)));
  if (!file) {
    if (errno == ENOENT) return std::optional<std::string>();
    return fail_errno("io", "Opening " + path, errno);
  }
  if (secret) {
    struct stat info{};
    if (fstat(file.get(), &info) != 0) return fail_errno("io", "Reading " + path, errno);
    if (!S_ISREG(info.st_mode)) return fail("too_open", path + " is not a file");
    if ((info.st_mode & 077) != 0)
      return fail("too_open", path + " can be read or written by others than its owner");
  }
  std::string out(bytes_max + 1, '\0');
  std::size_t size = 0;
  for (;;) {
    const ssize_t n = ::read(file.get(), out.data() + size, out.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("io", "Reading " + path, errno);
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
    if (size > bytes_max) return fail("too_long", path + " is longer than it may be");
  }
  out.resize(size);
  return std::optional<std::string>(std::move(out));
}

Result<void> write_small_file(const std::string& path, const std::string& bytes) {
  const std::string beside = path + ".new";
  const Fd file(open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return fail_errno("io", "Making " + beside, errno);
  const Result<void> written = write_whole(file, beside, bytes);
  if (!written) {
    unlink(beside.c_str());  // A full disk gets its room back; the old file stays as it was.
    return written;
  }
  if (rename(beside.c_str(), path.c_str()) != 0)
    return fail_errno("io", "Renaming " + beside, errno);
  return store_names_beside(path);
}

Result<void> write_with_room_kept(const std::string& path, const std::string& bytes) {
  if (bytes.size() > kRoomBytes)
    return fail("too_long", path + " takes " + std::to_string(kRoomBytes) + " bytes at most");
  const std::string spare = path + ".spare";
  const Result<Fd> file = open_room(spare);
  if (!file) return fail(file);
  const Result<void> written = write_whole(*file, spare, bytes);
  if (!written) return written;
  if (ftruncate(file->get(), static_cast<off_t>(bytes.size())) != 0 || fsync(file->get()) != 0)
    return fail_errno("io", "Storing " + spare, errno);
  const int exchanged = renameat2(AT_FDCWD, spare.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE);
  // The first time there is nothing to change names with; some file systems cannot.
  if (exchanged != 0 && errno != ENOENT && errno != EINVAL && errno != ENOSYS)
    return fail_errno("io", "Renaming " + spare, errno);
  if (exchanged != 0) {
    if (rename(spare.c_str(), path.c_str()) != 0)
      return fail_errno("io", "Renaming " + spare, errno);
    const Result<Fd> next = open_room(spare);
    if (!next) return fail(next);
  }
  return store_names_beside(path);
}

Result<bool> remove_small_file(const std::string& path) {
  if (unlink(path.c_str()) != 0) {
    if (errno == ENOENT) return false;
    return fail_errno("io", "Removing " + path, errno);
  }
  const Result<void> stored = store_names_beside(path);
  if (!stored) return fail(stored);
  return true;
}

}  // namespace everspan::net
