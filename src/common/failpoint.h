// Exact places where a real release can be made to fail, for tests that kill at every step.
//
//   failpoint("switch.before_persist");     // usually costs one load of a flag
//
// Off unless failpoints_enable() was called; a program calls that only when the enabling file
// exists and belongs to who may say so (its main checks; this file does no I/O). The environment
// says EVERSPAN_FAILPOINT=name:action:nth[,name:action:nth...]; actions: exit (status 70), hang
// (for good, SIGKILL ends it), kill (SIGKILL to itself), error (failpoint() returns true; the
// caller fails). `nth` counts from 1. Any thread.
//
// `nth` counts in one process, or, with failpoints_share_hits(), in all processes that share the
// memory: then a point strikes one process once, and not again the one that is started after it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/result.h"

namespace everspan {

// Parses and arms; an empty text arms nothing. Call once, before threads.
[[nodiscard]] Result<void> failpoints_enable(std::string_view text);
// One number for each armed point, in order, shared with other processes. Lives as long as we do;
// call once, after failpoints_enable() with the same text everywhere, before threads.
void failpoints_share_hits(std::uint64_t* hits);
[[nodiscard]] std::size_t failpoints_armed_count();
// True: the caller is to fail here (action "error").
bool failpoint(std::string_view name);
[[nodiscard]] std::string failpoints_armed();  // For the log; empty: none.

}  // namespace everspan
