#include "agent/files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "net/fd.h"

namespace everspan::agent {

Result<std::string> read_small_file(const std::string& path, std::size_t bytes_max) {
  net::Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno("no_file", "Opening " + path, errno);
  std::string out(bytes_max + 1, '\0');
  std::size_t size = 0;
  for (;;) {
    const ssize_t n = ::read(file.get(), out.data() + size, out.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("no_file", "Reading " + path, errno);
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
    if (size > bytes_max) return fail("too_long", path + " is longer than it may be");
  }
  out.resize(size);
  return out;
}

Result<void> write_small_file(const std::string& path, const std::string& bytes) {
  const std::string beside = path + ".new";
  net::Fd file(open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return fail_errno("no_file", "Making " + beside, errno);
  for (std::size_t put = 0; put < bytes.size();) {
    const ssize_t n = ::write(file.get(), bytes.data() + put, bytes.size() - put);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("no_file", "Writing " + beside, errno);
    put += static_cast<std::size_t>(n);
  }
  if (fsync(file.get()) != 0) return fail_errno("no_file", "Storing " + beside, errno);
  if (rename(beside.c_str(), path.c_str()) != 0)
    return fail_errno("no_file", "Renaming " + beside, errno);
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  net::Fd parent(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!parent || fsync(parent.get()) != 0)
    return fail_errno("no_file", "Storing the name " + path, errno);
  return {};
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
