#include "agent/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "net/fd.h"

namespace everspan::agent {

Result<std::string> read_small_file(const std::string& path, std::size_t bytes_max) {
  Result<std::optional<std::string>> bytes = net::read_small_file(path, bytes_max);
  if (!bytes) return fail(bytes);
  if (!*bytes) return fail_errno("no_file", "Opening " + path, ENOENT);
  return std::move(**bytes);
}

Result<void> make_private_folder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return fail_errno("no_folder", "Making " + path, errno);
  struct stat info{};
  if (lstat(path.c_str(), &info) != 0) return fail_errno("no_folder", "Reading " + path, errno);
  if (!S_ISDIR(info.st_mode) || info.st_uid != geteuid())
    return fail("no_folder", path + " is not a folder of this user");
  if ((info.st_mode & 077) != 0 && chmod(path.c_str(), 0700) != 0)
    return fail_errno("no_folder", "Closing " + path + " to others", errno);
  return {};
}

Result<net::Fd> lock_file(const std::string& path) {
  net::Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return fail_errno("no_file", "Opening " + path, errno);
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0)
    return fail("in_use", "Another process works with " + path, "", "Stop it first");
  return file;
}

}  // namespace everspan::agent
