// Files and folders of base: bounded reads, durable writes, owners and modes. Linux calls only.
#pragma once
#include <sys/types.h>

#include <string>
#include <string_view>

#include "common/result.h"
#include "net/fd.h"

namespace everspan::supervisor::detail {

[[nodiscard]] Result<std::string> read_file(const std::string& path, std::size_t bytes_max);
// Beside the file, fsync, rename, fsync of the folder: whole or not at all, and durable on return.
[[nodiscard]] Result<void> write_file_durably(const std::string& path, std::string_view bytes,
                                              mode_t mode);
[[nodiscard]] Result<void> sync_folder(const std::string& path);
// Makes it or checks that it is a folder, then sets owner (if uid is not -1) and mode.
[[nodiscard]] Result<void> make_folder(const std::string& path, mode_t mode, uid_t uid, gid_t gid);
[[nodiscard]] bool exists(const std::string& path);
// The folder and what is in it; no links are followed. Missing is fine.
[[nodiscard]] Result<void> remove_tree(const std::string& path);
[[nodiscard]] std::string folder_of(const std::string& path);
[[nodiscard]] std::string name_of(const std::string& path);
[[nodiscard]] Result<std::string> absolute(const std::string& path);

}  // namespace everspan::supervisor::detail
