// Files of an endpoint: small ones (net/small_file.h), its private folder, a lock.
#pragma once
#include <string>

#include "common/result.h"
#include "net/fd.h"
#include "net/small_file.h"

namespace everspan::agent {

using net::write_small_file;
// Code no_file: there is none.
[[nodiscard]] Result<std::string> read_small_file(const std::string& path, std::size_t bytes_max);
// 0700; an existing one must be ours and closed to others.
[[nodiscard]] Result<void> make_private_folder(const std::string& path);

// Held until it is closed, or its process ends. Code in_use: another process has it.
[[nodiscard]] Result<net::Fd> lock_file(const std::string& path);

}  // namespace everspan::agent
