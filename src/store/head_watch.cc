#include <fcntl.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "store/detail/files.h"
#include "store/log.h"

namespace everspan::store {

Result<HeadWatch> HeadWatch::open(const std::string& log_path) {
  const std::string hint = log_path + ".head";
  if (auto made = detail::File::open(hint, O_CREAT | O_WRONLY); !made) return fail(made);
  const int fd = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (fd < 0) return fail_errno("io_error", "Watch the log", errno);
  if (::inotify_add_watch(fd, hint.c_str(), IN_MODIFY) < 0) {
    const int error = errno;
    ::close(fd);
    return fail_errno("io_error", "Watch the log", error);
  }
  return HeadWatch(fd);
}

HeadWatch::HeadWatch(HeadWatch&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
HeadWatch::~HeadWatch() {
  if (fd_ >= 0) ::close(fd_);
}

void HeadWatch::drain() {
  alignas(inotify_event) std::array<char, 4096> events;
  while (::read(fd_, events.data(), events.size()) > 0) {
  }
}

}  // namespace everspan::store
