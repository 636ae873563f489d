#include "store/detail/journal_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <limits>
#include <tuple>

namespace everspan::store::detail {
namespace {

constexpr std::uint64_t kIndexRecords = 256;
constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max();

Result<std::string> read_range(const std::string& path, std::uint64_t from, std::uint64_t through) {
  auto file = File::open(path, O_RDONLY);
  if (!file) return fail(file);
  struct stat info{};
  if (::fstat(file->fd(), &info) != 0) return fail_errno("io_error", "Read " + path, errno);
  const auto end = std::min<std::uint64_t>(through, static_cast<std::uint64_t>(info.st_size));
  std::string bytes(end > from ? end - from : 0, '\0');
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = ::pread(file->fd(), bytes.data() + done, bytes.size() - done,
                                static_cast<off_t>(from + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("io_error", "Read " + path, errno);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  bytes.resize(done);
  return bytes;
}

// Names that end in `ending`; empty: names of nodes.
Result<std::vector<std::string>> files_in(const std::string& dir, std::string_view ending) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator it(dir, error);
  if (error == std::errc::no_such_file_or_directory) return names;
  for (; !error && it != std::filesystem::directory_iterator(); it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (ending.empty() ? NodeId::from_hex(name).has_value() : name.ends_with(ending))
      names.push_back(name);
  }
  if (error) return fail("io_error", "List " + dir + ": " + error.message());
  std::ranges::sort(names);
  return names;
}

// What is cut is kept beside it: a changed length looks like a torn tail too.
Result<void> cut_at(const std::string& path, File& locked, std::uint64_t good,
                    std::string_view bytes) {
  auto kept = File::open(path + ".torn-" + std::to_string(good), O_CREAT | O_TRUNC | O_WRONLY);
  if (!kept) return fail(kept);
  if (auto done = kept->write_all(bytes.substr(good)); !done) return done;
  if (auto done = kept->sync(); !done) return done;
  if (auto done = sync_folder_of(path); !done) return done;
  if (::ftruncate(locked.fd(), static_cast<off_t>(good)) != 0)
    return fail_errno("io_error", "Cut " + path, errno);
  return locked.sync();
}

}  // namespace

bool has_writer(const std::string& path, File* lock) {
  auto file = File::open(path, O_RDWR);
  if (!file) return false;
  if (::flock(file->fd(), LOCK_EX | LOCK_NB) != 0) return errno == EWOULDBLOCK;
  if (lock != nullptr) *lock = std::move(*file);
  return false;
}

Result<std::vector<JournalFolder::Cut>> JournalFolder::cut_torn_tails(const NodeId& node) {
  std::vector<Cut> cuts;
  auto names = files_in(node_dir(node), ".segment");
  if (!names) return fail(names);
  for (const std::string& name : *names) {
    const std::string path = node_dir(node) + "/" + name;
    File lock;
    if (has_writer(path, &lock) || !lock) continue;
    auto bytes = read_range(path, 0, kAll);
    if (!bytes) return fail(bytes);
    auto header = decode_header(*bytes);
    if (!header) continue;  // A segment gets its name with a whole header: verify() tells.
    const Walk walk = walk_records(std::string_view(*bytes).substr(header->end.offset), header->end,
                                   [](auto&&, auto&) { return true; });
    if (walk.tail != TailState::torn) continue;
    if (auto cut = cut_at(path, lock, walk.end.offset, *bytes); !cut) return fail(cut);
    cuts.push_back({name, bytes->size() - walk.end.offset});
  }
  // Begun and never named. Should its maker live, naming it fails, and it makes another.
  auto unnamed = files_in(node_dir(node), ".making");
  if (!unnamed) return fail(unnamed);
  for (const std::string& name : *unnamed) {
    const std::string path = node_dir(node) + "/" + name;
    if (has_writer(path)) continue;
    if (auto gone = remove_file(path); !gone) return fail(gone);
  }
  return cuts;
}

Result<void> JournalFolder::refresh() {
  auto nodes = files_in(dir_, {});
  if (!nodes) return fail(nodes);
  std::map<std::string, Segment> found;
  for (const std::string& node : *nodes) {
    auto names = files_in(dir_ + "/" + node, ".segment");
    if (!names) return fail(names);
    for (const std::string& name : *names) {
      const std::string path = dir_ + "/" + node + "/" + name;
      if (auto known = segments_.extract(path); !known.empty()) {
        found.insert(std::move(known));
        continue;
      }
      auto bytes = read_range(path, 0, 1024);
      if (!bytes) return fail(bytes);
      auto header = decode_header(*bytes);
      if (!header) continue;  // Being made just now, or reported by verify().
      Segment segment{name, path, *header, {}, {header->end, 0}, 0, TailState::whole};
      segment.index.push_back(segment.end);
      found.emplace(path, std::move(segment));
    }
  }
  segments_ = std::move(found);
  return {};
}

Result<void> JournalFolder::refresh_segment(Segment& segment, std::uint64_t through) {
  struct stat info{};
  if (::stat(segment.path.c_str(), &info) != 0)
    return fail_errno("io_error", "Read " + segment.path, errno);
  const auto size = std::min<std::uint64_t>(static_cast<std::uint64_t>(info.st_size), through);
  if (size <= segment.end.point.offset) {
    if (size == segment.end.point.offset) segment.tail = TailState::whole;
    return {};
  }
  auto bytes = read_range(segment.path, segment.end.point.offset, through);
  if (!bytes) return fail(bytes);
  const Walk walk =
      walk_records(*bytes, segment.end.point, [&](JournalBody&& body, const SegmentPoint& after) {
        segment.end = {after, body.seq};
        if (++segment.records % kIndexRecords == 0) segment.index.push_back(segment.end);
        return true;
      });
  segment.tail = walk.tail;
  return {};
}

Result<JournalFolder::Newest> JournalFolder::newest(const NodeId& node) {
  if (auto done = refresh(); !done) return fail(done);
  Newest newest;
  for (auto& [path, segment] : segments_) {
    if (segment.header.header.node != node) continue;
    const bool live = has_writer(path);
    if (auto done = refresh_segment(segment, kAll); !done) return fail(done);
    const std::uint64_t seq = std::max<std::uint64_t>(
        segment.end.seq,
        static_cast<std::uint64_t>(segment.header.header.started_at.unix_ms) * 1000);
    if (!newest.name.empty() && seq <= newest.last_seq) continue;
    // What a live writer has not synced yet may vanish: hook into its header then.
    newest = {segment.name, live ? segment.header.end : segment.end.point, seq};
  }
  return newest;
}

Result<void> JournalFolder::read_segment(const Segment& segment, std::uint64_t after,
                                         std::size_t limit, std::vector<JournalEntry>& out) {
  auto start = std::ranges::upper_bound(segment.index, after, {}, &IndexPoint::seq);
  if (start != segment.index.begin()) --start;
  auto bytes = read_range(segment.path, start->point.offset, segment.end.point.offset);
  if (!bytes) return fail(bytes);
  std::size_t taken = 0;
  [[maybe_unused]] const Walk walk =
      walk_records(*bytes, start->point, [&](JournalBody&& body, const SegmentPoint&) {
        if (body.seq <= after) return true;
        const SegmentHeader& from = segment.header.header;
        out.push_back({std::move(body.who), std::move(body.what), std::move(body.subject),
                       std::move(body.detail), body.at, body.seq, from.node, from.generation});
        return ++taken < limit;
      });
  return {};
}

Result<std::vector<JournalEntry>> JournalFolder::read(std::uint64_t after, std::size_t limit,
                                                      const std::string& own_name,
                                                      std::uint64_t own_synced) {
  std::vector<JournalEntry> entries;
  if (limit == 0) return entries;
  if (auto done = refresh(); !done) return fail(done);
  for (auto& [path, segment] : segments_) {
    const bool own = segment.name == own_name;
    if (auto done = refresh_segment(segment, own ? own_synced : kAll); !done) return fail(done);
    if (segment.end.seq <= after) continue;
    // One more than asked for, so that a tie at the page's end is seen.
    if (auto done = read_segment(segment, after, limit + 1, entries); !done) return fail(done);
  }
  const auto order = [](const JournalEntry& e) { return std::tuple(e.seq, e.generation, e.node); };
  std::ranges::sort(entries, {}, order);
  // An entry that was written again into the next segment, after an I/O error, counts once.
  const auto repeated = std::ranges::unique(entries, {}, order);
  entries.erase(repeated.begin(), repeated.end());
  std::size_t keep = std::min(limit, entries.size());
  while (keep > 0 && keep < entries.size() && entries[keep].seq == entries[keep - 1].seq) ++keep;
  entries.resize(keep);
  return entries;
}

Result<Journal::Verdict> JournalFolder::verify() {
  Journal::Verdict verdict;
  if (auto done = refresh(); !done) return fail(done);
  auto nodes = files_in(dir_, {});
  if (!nodes) return fail(nodes);
  for (const std::string& node : *nodes) {
    auto names = files_in(dir_ + "/" + node, ".segment");
    if (!names) return fail(names);
    for (const std::string& name : *names) {
      const auto known = segments_.find(dir_ + "/" + node + "/" + name);
      ++verdict.segments;
      if (known == segments_.end())
        verdict.problems.push_back("Segment " + name + " has a header that cannot be read");
      else
        verify_segment(known->second, verdict);
    }
  }
  return verdict;
}

void JournalFolder::verify_segment(const Segment& segment, Journal::Verdict& verdict) {
  auto bytes = read_range(segment.path, 0, kAll);
  auto header = bytes ? decode_header(*bytes) : Result<DecodedHeader>(fail(bytes));
  if (!header) {
    verdict.problems.push_back("Segment " + segment.name + ": " + header.error().message);
    return;
  }
  std::uint64_t seq = 0;
  bool ordered = true;
  const Walk walk = walk_records(std::string_view(*bytes).substr(header->end.offset), header->end,
                                 [&](JournalBody&& body, const SegmentPoint&) {
                                   ordered = ordered && body.seq > seq;
                                   seq = body.seq;
                                   ++verdict.entries;
                                   return true;
                                 });
  const std::string place =
      "Segment " + segment.name + ", byte " + std::to_string(walk.end.offset) + ": ";
  if (!ordered) verdict.problems.push_back(place + "entries are not in order");
  if (walk.tail == TailState::broken)
    verdict.problems.push_back(place + "an entry was changed or is damaged");
  if (walk.tail == TailState::torn && !has_writer(segment.path))
    verdict.problems.push_back(place + "the last entry is not complete");
  verify_link(segment, verdict);
}

void JournalFolder::verify_link(const Segment& segment, Journal::Verdict& verdict) {
  const SegmentHeader& header = segment.header.header;
  if (header.previous_name.empty()) return;
  const auto before = segments_.find(dir_ + "/" + header.node.hex() + "/" + header.previous_name);
  if (before == segments_.end()) {
    verdict.problems.push_back("Segment " + header.previous_name + " is missing before " +
                               segment.name);
    return;
  }
  const SegmentPoint wanted{header.previous_length, header.previous_hash};
  bool found = before->second.header.end == wanted;
  auto bytes = read_range(before->second.path, before->second.header.end.offset, kAll);
  if (bytes && !found) {
    [[maybe_unused]] const Walk walk = walk_records(*bytes, before->second.header.end,
                                                    [&](JournalBody&&, const SegmentPoint& after) {
                                                      found = after == wanted;
                                                      return !found;
                                                    });
  }
  if (!found)
    verdict.problems.push_back("Segment " + header.previous_name + " lacks what " + segment.name +
                               " follows");
}

}  // namespace everspan::store::detail
