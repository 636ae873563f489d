// Reads recordings: which sessions there are, one session's bytes in order, and whether they are
// whole. Works beside a writing process (it stops at the last whole record). Blocking: not on an io
// thread.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/result.h"
#include "recording/core/types.h"
#include "recording/core/verify.h"

namespace everspan::recording {

struct RecordingSummary {
  SessionInfo info;
  std::int64_t started_ms = 0;
  std::int64_t last_ms = 0;
  std::uint64_t bytes = 0;  // Of content and of hashed pieces.
  std::uint32_t segments = 0;
};

// Newest first.
[[nodiscard]] Result<std::vector<RecordingSummary>> list_recordings(const std::string& folder);

struct Piece {
  std::uint32_t channel = 0;
  Direction direction = Direction::c2a;
  std::uint64_t offset = 0;
  std::int64_t wall_ms = 0;
  bool fin = false;
  bool content = true;  // False: `bytes` is the SHA-256 of `length` bytes.
  std::uint64_t length = 0;
  std::string bytes;
};
// All pieces of a session, ordered by (channel, direction, offset), overlaps resolved: each number
// at most once. Codes: not_found, io.
[[nodiscard]] Result<std::vector<Piece>> read_recording(const std::string& folder,
                                                        const SessionId& session);
// Codes: not_found, io. What is wrong with a recording is in the report.
[[nodiscard]] Result<VerifyReport> verify_recording(const std::string& folder,
                                                    const SessionId& session);

}  // namespace everspan::recording
