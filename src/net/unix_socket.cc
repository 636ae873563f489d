#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "net/detail/unix_path.h"
#include "net/socket.h"

namespace everspan::net {
namespace {

constexpr int kBacklog = 1024;
constexpr Duration kFullBacklogRetry = std::chrono::milliseconds(5);

// A socket address for `path`; the folder's descriptor must stay open while it is used.
struct UnixAddress {
  Fd folder;
  sockaddr_un address{};
};

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<UnixAddress> make_address(const std::string& path) {
  UnixAddress out;
  out.address.sun_family = AF_UNIX;
  if (path.empty() || path.find('\0') != std::string::npos) {
    return fail("bad_path", "A socket needs a path");
  }
  std::string reachable = path;
  if (path.size() >= sizeof out.address.sun_path) {
    out.folder = Fd(open(folder_of(path).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!out.folder) return fail_errno("unreachable", "Opening the folder of " + path, errno);
    reachable = "/proc/self/fd/" + std::to_string(out.folder.get()) + path.substr(path.rfind('/'));
  }
  if (reachable.size() >= sizeof out.address.sun_path) {
    return fail("bad_path", "The name of the socket " + path + " is too long");
  }
  std::memcpy(out.address.sun_path, reachable.c_str(), reachable.size() + 1);
  return out;
}

Result<void> prepare_folder(const std::string& path) {
  const std::string folder = folder_of(path);
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail_errno("listen", "Making the folder " + folder, errno);
  }
  struct stat info{};
  if (stat(folder.c_str(), &info) != 0) return fail_errno("listen", "Reading " + folder, errno);
  if ((info.st_mode & 022) != 0) {
    return fail("listen", "Others can write to the folder " + folder, "",
                "Take their rights away (chmod go-w) and start again");
  }
  if (lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) return fail("listen", path + " exists and is no socket");
    if (unlink(path.c_str()) != 0) return fail_errno("listen", "Replacing " + path, errno);
  }
  return {};
}

}  // namespace

namespace detail {

Result<Fd> listen_unix_socket(const std::string& path, int type) {
  const auto ready = prepare_folder(path);
  if (!ready) return fail(ready);
  const auto address = make_address(path);
  if (!address) return fail(address);
  Fd socket(::socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  // The mode of an unbound socket becomes the file's (unix(7)), so it is never open to others.
  if (!socket || fchmod(socket.get(), 0600) != 0 ||
      bind(socket.get(), reinterpret_cast<const sockaddr*>(&address->address),
           sizeof address->address) != 0 ||
      listen(socket.get(), kBacklog) != 0) {
    return fail_errno("listen", "Listening on " + path, errno);
  }
  return socket;
}

Task<Result<Fd>> connect_unix_socket(std::string path, int type, Instant deadline) {
  const auto address = make_address(path);
  if (!address) co_return fail(address);
  Fd socket(::socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) co_return fail_errno("unreachable", "No socket", errno);
  for (;;) {
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address->address),
                  sizeof address->address) == 0) {
      co_return socket;
    }
    if (errno != EAGAIN && errno != EINTR) {
      co_return fail_errno("unreachable", "Connecting to " + path, errno);
    }
    // EAGAIN: the listener's queue is full. The kernel tells nobody when it has room again.
    if (now() >= deadline) co_return fail("timeout", path + " did not answer in time");
    const bool slept = co_await sleep_for(kFullBacklogRetry);
    if (!slept) co_return fail("cancelled", "Connecting to " + path + " was cancelled");
  }
}

}  // namespace detail

Result<Fd> listen_unix(const std::string& path) {
  return detail::listen_unix_socket(path, SOCK_STREAM);
}
Task<Result<Fd>> accept_unix(int listener) {
  return detail::accept_socket(listener);
}
Task<Result<Fd>> connect_unix(std::string path, Instant deadline) {
  return detail::connect_unix_socket(std::move(path), SOCK_STREAM, deadline);
}

Result<PeerIdentity> unix_peer(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return fail_errno("no_peer", "Reading the peer's identity", errno);
  }
  return PeerIdentity{peer.pid, peer.uid};
}

}  // namespace everspan::net
