#include "console/counted_io.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

namespace everspan::console {
namespace {

// In this order for whoever reads them after a kill; the processor keeps it for this process.
void store(std::int64_t& mark, std::int64_t value) {
  std::atomic_ref(mark).store(value, std::memory_order_release);
}

bool is_regular(int fd, struct stat& info) {
  return fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
}

ssize_t not_now() {
  errno = EAGAIN;
  return -1;
}

}  // namespace

// ---- Output ----

ssize_t CountedOutput::write(int fd, std::string_view bytes) {
  if (sends_) {
    const ssize_t put = send(fd, bytes);
    if (put >= 0 || errno != EINVAL) return put;
    sends_ = false;  // This file takes no pages.
  }
  return write_noted(fd, bytes);
}

ssize_t CountedOutput::send(int fd, std::string_view bytes) {
  const std::int64_t at = marks_.given;
  if (!pages_ || at - pages_from_ >= static_cast<std::int64_t>(kPagesBytes)) {
    pages_ = net::Fd(memfd_create("everspan-output", MFD_CLOEXEC));
    if (!pages_) return -1;
    pages_from_ = at;
  }
  // Of a piece that was taken in part the rest is written again: the same bytes at the same place.
  const ssize_t laid = pwrite(pages_.get(), bytes.data(), bytes.size(), at);
  if (laid <= 0) return laid;
  const ssize_t put = sendfile(fd, pages_.get(), &marks_.given, static_cast<std::size_t>(laid));
  return put == 0 ? not_now() : put;
}

ssize_t CountedOutput::write_noted(int fd, std::string_view bytes) {
  struct stat info{};
  if (is_regular(fd, info)) {
    store(marks_.intent_at, marks_.given);
    store(marks_.intent_file_size, info.st_size);
    store(marks_.intent_bytes, static_cast<std::int64_t>(bytes.size()));
  }
  const ssize_t put = ::write(fd, bytes.data(), bytes.size());
  if (put > 0) store(marks_.given, marks_.given + put);
  store(marks_.intent_bytes, 0);
  return put;
}

std::int64_t settle(OutputMarks& marks, int fd, std::int64_t consumed) {
  std::int64_t given = std::max(marks.given, consumed);
  struct stat info{};
  if (marks.intent_bytes > 0 && is_regular(fd, info)) {
    const std::int64_t grown = info.st_size - marks.intent_file_size;
    given =
        std::max(given, marks.intent_at + std::clamp<std::int64_t>(grown, 0, marks.intent_bytes));
  }
  store(marks.given, given);
  store(marks.intent_bytes, 0);
  return given;
}

// ---- Input ----

CountedInput::CountedInput(StateFile& file, int fd, const InputPosition& before)
    : file_(file), position_{.taken = static_cast<std::uint64_t>(file.marks().taken)} {
  struct stat info{};
  if (fstat(fd, &info) != 0) return;
  if (S_ISFIFO(info.st_mode)) kind_ = Kind::pipe;
  if (!S_ISREG(info.st_mode)) return;
  const off_t at = lseek(fd, 0, SEEK_CUR);
  if (at < 0) return;
  kind_ = Kind::file;
  position_.device = info.st_dev;
  position_.inode = info.st_ino;
  const bool same = before.device == position_.device && before.inode == position_.inode;
  position_.offset = same ? before.offset : static_cast<std::uint64_t>(at);
}

void CountedInput::noted(std::size_t room) {
  room_ = room;
}

ssize_t CountedInput::read(int fd, char* to, std::size_t size) {
  if (kind_ == Kind::other) return ::read(fd, to, size);
  size = std::min(size, room_);
  if (size == 0) return not_now();
  const ssize_t got = kind_ == Kind::pipe ? take(fd, to, size) : read_file(fd, to, size);
  if (got > 0) room_ = 0;
  return got;
}

ssize_t CountedInput::take(int fd, char* to, std::size_t size) {
  std::int64_t& mark = file_.marks().taken;
  const auto end = StateFile::input_begin() + static_cast<std::int64_t>(StateFile::kInputBytes);
  if (mark == end) store(mark, StateFile::input_begin());  // All before it is in the state.
  const std::int64_t from = mark;
  size = std::min(size, static_cast<std::size_t>(end - from));
  const ssize_t got = splice(fd, nullptr, file_.fd(), &mark, size, SPLICE_F_NONBLOCK);
  if (got < 0 && errno == EINVAL) {  // This file system takes no pages.
    kind_ = Kind::other;
    return ::read(fd, to, size);
  }
  if (got <= 0) return got;
  std::memcpy(to, file_.input_at(from), static_cast<std::size_t>(got));
  position_.taken = static_cast<std::uint64_t>(mark);
  return got;
}

ssize_t CountedInput::read_file(int fd, char* to, std::size_t size) {
  const auto from = static_cast<off_t>(position_.offset);
  const ssize_t got = pread(fd, to, size, from);
  if (got <= 0) return got;
  position_.offset += static_cast<std::uint64_t>(got);
  // For whoever reads the same open file after us.
  return lseek(fd, from + got, SEEK_SET) < 0 ? -1 : got;
}

Result<std::string> taken_since(const StateFile& file, const InputPosition& noted) {
  const std::int64_t begin = StateFile::input_begin();
  const auto end = begin + static_cast<std::int64_t>(StateFile::kInputBytes);
  auto from = static_cast<std::int64_t>(noted.taken);
  const std::int64_t to = file.marks().taken;
  if (from == end && to < end) from = begin;
  if (from < begin || to < from || to > end)
    return fail("bad_state", "The console's input is damaged");
  return std::string(file.input_at(from), static_cast<std::size_t>(to - from));
}

}  // namespace everspan::console
