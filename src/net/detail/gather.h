// Pieces of a write, taken record by record.
#pragma once
#include <sys/uio.h>

#include <cstdint>
#include <span>

namespace everspan::net::detail {

[[nodiscard]] std::size_t total_size(std::span<const iovec> pieces);

// Up to `limit` bytes (at most 16 KiB) from `skip` on, in one piece. One big piece is used where it
// lies; small ones are copied into a buffer that all connections of a thread share.
[[nodiscard]] std::span<const std::uint8_t> gather(std::span<const iovec> pieces, std::size_t skip,
                                                   std::size_t limit);

}  // namespace everspan::net::detail
