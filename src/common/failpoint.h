// Exact places where a real release can be made to fail, for tests that kill at every step.
//
//   failpoint("switch.before_persist");     // usually costs one load of a flag
//
// Off unless failpoints_enable() was called; a program calls that only when the enabling file
// exists and belongs to who may say so (its main checks; this file does no I/O). The environment
// says EVERSPAN_FAILPOINT=name:action:nth[,name:action:nth...]; actions: exit (status 70), hang
// (for good, SIGKILL ends it), kill (SIGKILL to itself), error (failpoint() returns true; the
// caller fails). `nth` counts from 1. Any thread.
#pragma once
#include <string>
#include <string_view>

#include "common/result.h"

namespace everspan {

// Parses and arms; an empty text arms nothing. Call once, before threads.
[[nodiscard]] Result<void> failpoints_enable(std::string_view text);
// True: the caller is to fail here (action "error").
bool failpoint(std::string_view name);
[[nodiscard]] std::string failpoints_armed();  // For the log; empty: none.

}  // namespace everspan
