// Small files that must be whole after a crash: written beside, fsynced, renamed, the folder
// fsynced. Mode 0600, whatever an earlier one had. They block for a moment.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "common/result.h"

namespace everspan::net {

enum class Secrecy : std::uint8_t {
  none,
  owner_only,  // Code too_open when group or others may do anything with it; a link is refused.
};

// nullopt: there is none. Codes: too_long, too_open, io.
[[nodiscard]] Result<std::optional<std::string>> read_small_file(const std::string& path,
                                                                 std::size_t bytes_max,
                                                                 Secrecy secrecy = Secrecy::none);
[[nodiscard]] Result<void> write_small_file(const std::string& path, const std::string& bytes);
// The same for what must be stored on a full disk, too: at most kRoomBytes, for which room is kept
// in path + ".spare" (written there, then the two change names). The first call needs room. Code
// also too_long.
inline constexpr std::size_t kRoomBytes = 4096;
[[nodiscard]] Result<void> write_with_room_kept(const std::string& path, const std::string& bytes);
// Gone after a crash, too. False: there was none.
[[nodiscard]] Result<bool> remove_small_file(const std::string& path);

}  // namespace everspan::net
