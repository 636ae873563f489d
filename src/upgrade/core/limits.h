// How long and how often a plan tries (U7). Each wait has an end; then the plan goes on, back, or
// parks.
#pragma once
#include <chrono>
#include <cstdint>

#include "common/time.h"

namespace everspan::upgrade {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""min;

// Transfers over bad lines are tried again; what a check found is found.
inline constexpr std::uint32_t kTransferAttemptsMax = 4;
// A candidate that was lost with a base or site that died is started anew.
inline constexpr std::uint32_t kCandidateAttemptsMax = 4;
// Past the point of no return, and on the way back, giving up helps nobody.
inline constexpr std::uint32_t kPinAttemptsMax = 60;
inline constexpr std::uint32_t kUndoAttemptsMax = 60;
inline constexpr Duration kRetryDelay = 1s;
inline constexpr Duration kRetryDelayMax = 10s;

inline constexpr Duration kResolveTime = 60s;
inline constexpr Duration kFetchTime = 60min;
inline constexpr Duration kPreflightTime = 5min;
inline constexpr Duration kBackupTime = 30min;
inline constexpr Duration kProbeTime = 30s;
inline constexpr Duration kSwitchTime = 30s;
inline constexpr Duration kPinTime = 30s;
inline constexpr Duration kFinaliseTime = 30s;
inline constexpr Duration kUndoTime = 30s;

inline constexpr Duration kLookEvery = 200ms;
inline constexpr Duration kSampleEvery = 500ms;
inline constexpr int kUnhealthyMax = 3;  // In a row: 1.5 s.

}  // namespace everspan::upgrade
