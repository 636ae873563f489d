#include "net/detail/drain.h"

#include <sys/socket.h>

#include <array>

namespace everspan::net::detail {

void drain_before_close(int socket) {
  constexpr int kReadsMax = 16;
  std::array<char, 16 * 1024> waste;
  for (int i = 0; i < kReadsMax; i++) {
    if (recv(socket, waste.data(), waste.size(), MSG_DONTWAIT) <= 0) return;
  }
}

}  // namespace everspan::net::detail
