// Writes the recordings of one process: batches from the io threads go to one writer thread, which
// appends them to a file that all sessions share and fsyncs in groups. Format and reasons:
// docs/decisions/2026-11-23-recording-format.md.
//
// Files: DIR/recordings/<start ms>-<generation>-<n>.rec, mode 0600. Only this process writes them.
//
// Invariants
//   R5  A batch's `done` runs only after the file that holds it was fdatasync'ed.
//   R6  If a write or fsync fails, the batch is written again to a new file; nothing is reported
//       durable meanwhile, and failing() says why. A file whose fsync failed is never written
//       again.
//   R7  Each file begins with what the process's earlier files hold of every open stream, so the
//       last file of each process is enough to know a session's durable offsets.
//
// Threads: every method from any thread. `done` and recover's callback run on the recorder's own
// threads and must only post. Errors at open() are Results; later ones show in failing().
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/ids.h"
#include "common/result.h"
#include "recording/core/session_tap.h"
#include "recording/core/types.h"

namespace everspan::pb {
class RecorderSnapshot;
}

namespace everspan::recording {

struct RecorderOptions {
  std::string folder;  // DIR/recordings; made if it is missing (0700).
  SiteId site;
  NodeId node;
  std::uint64_t generation = 0;                // Of this process.
  std::uint32_t sync_interval_ms = 15;         // Least time between two fsyncs.
  std::uint64_t file_bytes_max = 64ULL << 20;  // Then the next file is begun.
};

class Recorder {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Recorder>> open(const RecorderOptions& options);
  ~Recorder();  // Writes and fsyncs what was submitted, then ends its threads.

  // A number for a session's records in this process's files.
  [[nodiscard]] std::uint32_t open_stream(const SessionInfo& info);
  // The session is recorded elsewhere from now on, or ended: its last chain digest is written.
  void close_stream(std::uint32_t stream, const std::string& reason);
  // Bytes wait in memory until they are durable; senders are bounded by their rings, so this is
  // too.
  void submit(Batch batch, std::function<void(Batch)> done);
  [[nodiscard]] std::size_t queued_bytes() const;

  // What the files of all processes of this node hold durably of a session (they are fsynced
  // first). Reads the last file of each process; takes milliseconds to seconds.
  void recover(SessionId session, std::function<void(std::unique_ptr<pb::RecorderSnapshot>)> done);

  struct Counters {
    std::uint64_t bytes = 0;
    std::uint64_t batches = 0;
    std::uint64_t syncs = 0;
    std::uint64_t files = 0;
  };
  [[nodiscard]] Counters counters() const;
  [[nodiscard]] std::optional<Error> failing() const;

 private:
  struct State;
  explicit Recorder(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace everspan::recording
