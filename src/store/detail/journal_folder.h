// The segments of a journal on disk: finding, reading, checking, cutting torn tails. One thread at
// a time.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "store/core/journal_format.h"
#include "store/detail/files.h"
#include "store/journal.h"

namespace everspan::store::detail {

class JournalFolder {
 public:
  explicit JournalFolder(std::string dir) : dir_(std::move(dir)) {}

  // A torn tail that was cut.
  struct Cut {
    std::string segment;
    std::uint64_t bytes = 0;
  };
  // Cuts the torn tails of `node`'s segments whose writers are gone.
  [[nodiscard]] Result<std::vector<Cut>> cut_torn_tails(const NodeId& node);

  // Where a new segment of `node` hooks in: a point that stays whatever crashes. Also the highest
  // seq.
  struct Newest {
    std::string name;
    SegmentPoint point;
    std::uint64_t last_seq = 0;
  };
  [[nodiscard]] Result<Newest> newest(const NodeId& node);

  // `own_name` is read up to `own_synced` only.
  [[nodiscard]] Result<std::vector<JournalEntry>> read(std::uint64_t after, std::size_t limit,
                                                       const std::string& own_name,
                                                       std::uint64_t own_synced);
  [[nodiscard]] Result<Journal::Verdict> verify();

  [[nodiscard]] std::string node_dir(const NodeId& node) const { return dir_ + "/" + node.hex(); }

 private:
  struct IndexPoint {
    SegmentPoint point;
    std::uint64_t seq = 0;  // Of the last record before the point.
  };
  struct Segment {
    std::string name;  // Of the file.
    std::string path;
    DecodedHeader header;
    std::vector<IndexPoint> index;  // One each kIndexRecords, to begin reading near `after`.
    IndexPoint end;                 // All before is checked.
    std::uint64_t records = 0;
    TailState tail = TailState::whole;
  };

  Result<void> refresh();
  Result<void> refresh_segment(Segment& segment, std::uint64_t through);
  Result<void> read_segment(const Segment& segment, std::uint64_t after, std::size_t limit,
                            std::vector<JournalEntry>& out);
  void verify_segment(const Segment& segment, Journal::Verdict& verdict);
  void verify_link(const Segment& segment, Journal::Verdict& verdict);

  const std::string dir_;
  std::map<std::string, Segment> segments_;  // By path.
};

// True when some process writes it now. `lock`, if given, receives the lock when nobody does.
[[nodiscard]] bool has_writer(const std::string& path, File* lock = nullptr);

}  // namespace everspan::store::detail
