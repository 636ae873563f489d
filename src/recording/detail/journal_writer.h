// Lays batches of all sessions into the process's files: segments, chains, rotation (recorder.h
// R5..R7). Blocking; used by the writer thread only.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/crypto.h"
#include "common/result.h"
#include "recording/core/knowledge.h"
#include "recording/core/record.h"
#include "recording/core/session_tap.h"
#include "recording/detail/journal_file.h"
#include "recording/recorder.h"

namespace everspan::recording {

class JournalWriter {
 public:
  explicit JournalWriter(RecorderOptions options, std::int64_t started_ms);

  // Known from here on; nothing is written before its first record.
  void open_stream(std::uint32_t stream, SessionInfo info);
  // These three are collected and leave with commit().
  void add(std::string records);  // Of a Batch.
  void close_stream(std::uint32_t stream, std::string reason);
  // Writes and fsyncs what was collected. After an error nothing of it counts as durable and it is
  // kept: commit() again writes all of it to a new file.
  [[nodiscard]] Result<void> commit(std::int64_t wall_ms);
  [[nodiscard]] bool has_work() const { return !batches_.empty() || !closing_.empty(); }
  // The batches that became durable with the last commit(), in the order of add(): their memory can
  // be used again.
  [[nodiscard]] std::vector<std::string> take_spent() { return std::exchange(spent_, {}); }
  // Ends every segment; for an orderly end of the process.
  [[nodiscard]] Result<void> finish(std::int64_t wall_ms);
  [[nodiscard]] std::uint64_t files() const { return files_; }

 private:
  struct Stream {
    SessionInfo info;
    Knowledge durable;
    bool in_file = false;  // Its segment record is in the current file.
    Sha256Stream chain;
    std::uint64_t records = 0;
    std::uint64_t unchained_bytes = 0;
  };

  [[nodiscard]] Result<void> begin_file(std::int64_t wall_ms);
  [[nodiscard]] Result<void> rotate(std::int64_t wall_ms);
  void lay_out(std::int64_t wall_ms);
  void chain_record(Stream& stream, const Record& record);
  void append_record(Stream& stream, std::size_t from);
  // What was laid out: ranges of out_, and whole records of batches where they lie.
  void lay_own(std::size_t from);
  [[nodiscard]] Result<void> write_out();
  void begin_segment(std::uint32_t number, Stream& stream, std::int64_t wall_ms);
  void end_segment(std::uint32_t number, Stream& stream, const std::string& reason,
                   std::int64_t wall_ms);
  void settle();

  RecorderOptions options_;
  std::int64_t started_ms_;
  std::uint32_t next_number_ = 1;
  JournalFile file_;
  bool suspect_ = false;  // A write or fsync of the current file failed.
  struct Part {
    char* foreign = nullptr;  // Null: in out_, which may still move.
    std::size_t from = 0;
    std::size_t size = 0;
  };
  std::string out_;
  std::vector<Part> parts_;
  std::vector<std::string> spent_;
  std::map<std::uint32_t, Stream> streams_;
  std::vector<std::string> batches_;
  std::vector<std::pair<std::uint32_t, std::string>> closing_;
  std::uint64_t files_ = 0;
};

}  // namespace everspan::recording
