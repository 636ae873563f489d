// Small files of the user: passwords, CAs, profiles.
#pragma once
#include <string>

#include "common/result.h"

namespace everspan::cli {

// Whole file; "-" is standard input. Codes: io, too_large.
[[nodiscard]] Result<std::string> read_file(const std::string& path, std::size_t bytes_max);
// Without the line break at its end.
[[nodiscard]] Result<std::string> read_secret_file(const std::string& path);
// Mode 0600 from its first moment, fsynced, put in place by rename.
[[nodiscard]] Result<void> write_secret_file(const std::string& path, const std::string& text);

}  // namespace everspan::cli
