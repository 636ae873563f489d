#include "net/detail/gather.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "common/check.h"

namespace everspan::net::detail {
namespace {

constexpr std::size_t kGatherMax = 16 * 1024;

}  // namespace

std::size_t total_size(std::span<const iovec> pieces) {
  std::size_t sum = 0;
  for (const iovec& piece : pieces) sum += piece.iov_len;
  return sum;
}

std::span<const std::uint8_t> gather(std::span<const iovec> pieces, std::size_t skip,
                                     std::size_t limit) {
  thread_local std::array<std::uint8_t, kGatherMax> shared;
  check(limit <= shared.size(), "a record's bytes are gathered");
  std::size_t filled = 0;
  for (const iovec& piece : pieces) {
    if (skip >= piece.iov_len) {
      skip -= piece.iov_len;
      continue;
    }
    const auto* data = static_cast<const std::uint8_t*>(piece.iov_base) + skip;
    const std::size_t size = std::min(piece.iov_len - skip, limit - filled);
    const bool last = &piece == &pieces.back();
    skip = 0;
    if (filled == 0 && (size == limit || last)) return {data, size};
    std::memcpy(shared.data() + filled, data, size);
    filled += size;
    if (filled == limit) break;
  }
  return {shared.data(), filled};
}

}  // namespace everspan::net::detail
