// What the recorder of one session takes of each data frame, in the process that holds the agent's
// leg. Pure: frames in; records for the file and durable offsets out.
//
// Invariants
//   R1  A byte (channel, direction, offset) is put into a batch at most once by one tap.
//   R2  durable(channel, direction) = n only if every number below n is durable: in this tap's
//       fsynced records, or in those that a merged snapshot speaks for.
//   R3  A channel's content is kept unless its kind is `tunnel` or the policy is metadata; then
//       length and SHA-256 of each piece are kept.
//   R4  Kinds come from the control stream (channel 0, both directions), read in order of its
//       numbers.
//   R5  With the policy off nothing is ever in flight: counts are written (length_counter.h), and
//       lost with a crash for the last second.
//
// One thread. Limits: kTapStreamsMax streams of channels that are not over; data of more is not
// recorded and never durable, so a strict end stops there.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "recording/core/control_follower.h"
#include "recording/core/length_counter.h"
#include "recording/core/offset_set.h"
#include "recording/core/types.h"

namespace everspan::pb {
class RecorderSnapshot;
}

namespace everspan::recording {

inline constexpr std::size_t kTapStreamsMax = 2048;

// Records on their way to the file, and what becomes durable with them.
struct Batch {
  struct Note {
    std::uint32_t stream = 0;
    std::uint32_t channel = 0;
    Direction direction = Direction::c2a;
    std::uint64_t from = 0;
    std::uint64_t to = 0;
  };
  std::string records;  // core/record.h, checksums not filled in yet
  std::vector<Note> notes;
  [[nodiscard]] bool empty() const { return records.empty(); }
};

class SessionTap {
 public:
  struct Progress {
    std::uint32_t channel = 0;
    std::uint64_t durable = 0;
  };

  // `stream`: number of this session in the files of this process (Recorder::open_stream).
  SessionTap(std::uint32_t stream, Policy policy);
  ~SessionTap();

  void add(Direction direction, std::uint32_t channel, std::uint64_t offset, bool fin,
           std::string_view payload, std::int64_t wall_ms, Batch& out);
  void mark_durable(const Batch::Note& note);
  // Before the stream is closed: counts that were not written yet.
  void finish(Batch& out);
  // What another process's segments hold. Appends a snapshot record when it changes something.
  void merge(const pb::RecorderSnapshot& other, Batch& out);

  // Streams of this direction whose durable offset grew since the last call.
  [[nodiscard]] std::vector<Progress> take_progress(Direction direction);
  // There is some that a sender may be waiting for: much of it, an ended stream, or channel 0.
  [[nodiscard]] bool progress_is_urgent() const;
  [[nodiscard]] std::vector<Progress> all_progress(Direction direction) const;
  [[nodiscard]] std::uint64_t durable(std::uint32_t channel, Direction direction) const;
  // Everything that was put into batches is durable.
  [[nodiscard]] bool settled() const { return bytes_in_flight_ == 0; }
  [[nodiscard]] std::uint64_t bytes_in_flight() const { return bytes_in_flight_; }
  void snapshot(pb::RecorderSnapshot& out) const;
  [[nodiscard]] std::uint32_t stream() const { return stream_; }
  [[nodiscard]] std::string_view kind(std::uint32_t channel) const;

 private:
  struct Stream {
    OffsetSet taken;  // Put into batches, or spoken for by others.
    OffsetSet kept;   // Durable.
    std::uint64_t told = 0;
    std::uint64_t fin_end = 0;  // One above FIN's number; 0: not seen.
    std::uint64_t in_flight = 0;
  };
  using Key = std::pair<std::uint32_t, Direction>;

  void count(Direction direction, std::uint32_t channel, std::uint64_t end, std::int64_t wall_ms,
             Batch& out);
  void write_counts(std::int64_t wall_ms, Batch& out);
  void follow(Direction direction, std::uint64_t offset, std::string_view bytes, Batch& out);
  void apply(const ControlNews& news, pb::RecorderSnapshot& delta);
  void retire_if_over(std::uint32_t channel);
  [[nodiscard]] bool over(std::uint32_t channel, Direction direction) const;

  std::uint32_t stream_;
  Policy policy_;
  LengthCounter lengths_;  // Policy off: all there is.
  std::map<Key, Stream> streams_;
  std::map<std::uint32_t, std::string> kinds_;
  OffsetSet closed_;    // Channels that an end said are gone; not retired yet, or retired.
  OffsetSet finished_;  // Retired channels.
  std::vector<std::uint32_t> newly_finished_;  // Not in a snapshot record yet.
  std::map<Key, std::uint64_t> again_;         // Asked about a finished channel: its answer.
  ControlFollower followers_[2];
  std::uint64_t bytes_in_flight_ = 0;
};

}  // namespace everspan::recording
