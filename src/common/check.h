// Assertions that stay on in releases. For bugs only: what a peer, a file or a person can cause is
// a Result. A failed check prints where and why, and ends the process (restart is cheap).
#pragma once
#include <source_location>

namespace everspan {

[[noreturn]] void check_failed(const char* what, std::source_location where);

inline void check(bool holds, const char* what,
                  std::source_location where = std::source_location::current()) {
  if (!holds) [[unlikely]]
    check_failed(what, where);
}

}  // namespace everspan
