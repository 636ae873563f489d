// Small files that must be whole after a crash: written beside, fsynced, renamed. Mode 0600.
#pragma once
#include <string>

#include "common/result.h"
#include "net/fd.h"

namespace everspan::agent {

[[nodiscard]] Result<std::string> read_small_file(const std::string& path, std::size_t bytes_max);
[[nodiscard]] Result<void> write_small_file(const std::string& path, const std::string& bytes);
// 0700; an existing one must be ours and closed to others.
[[nodiscard]] Result<void> make_private_folder(const std::string& path);

// Held until it is closed, or its process ends. Code in_use: another process has it.
[[nodiscard]] Result<net::Fd> lock_file(const std::string& path);

}  // namespace everspan::agent
