#include "net/fd.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/check.h"

namespace everspan::net {

Fd Fd::duplicate() const {
  const int copy = fcntl(fd_, F_DUPFD_CLOEXEC, 3);
  check(copy >= 0, "a descriptor can be duplicated");
  return Fd(copy);
}

void Fd::reset() {
  // Linux frees the number even when close() reports an error, so it must not be tried again.
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

}  // namespace everspan::net
