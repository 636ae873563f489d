// Standard input and output of a console that may be killed at any moment: the kernel itself counts
// what is moved, in the state file's mapping, in the call that moves it. sendfile(2) and splice(2)
// store the offset that they were given by address before they return, and a process that is killed
// still ends its system call: so the count is right whenever the kill comes. (A write(2) with a
// note behind it is not: whoever waits for the bytes runs first. Of 2,000 writers of a pipe that
// were killed, 1,981 had written a piece that they had not noted; by sendfile none of 2,000.)
//
// What cannot be counted so is said at each class.
#pragma once
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "common/result.h"
#include "console/state_codec.h"
#include "console/state_file.h"
#include "net/fd.h"

namespace everspan::console {

// Writes a channel's bytes; the mark says how many of the channel are given away. Exact for pipes,
// terminals, sockets and plain files. A file that is opened for appending cannot be sent to: there
// an intent is noted first, and what became of it is seen at the file's size, as long as nobody
// else appends at that moment. A device that takes write(2) only may get the last piece twice.
class CountedOutput {
 public:
  static constexpr std::size_t kPagesBytes = 256 * 1024;

  explicit CountedOutput(OutputMarks& marks) : marks_(marks) {}
  [[nodiscard]] ssize_t write(int fd, std::string_view bytes);  // As write(2).

 private:
  ssize_t send(int fd, std::string_view bytes);
  ssize_t write_noted(int fd, std::string_view bytes);

  OutputMarks& marks_;
  // Bytes on their way. A pipe holds these very pages until they are read, so nothing in them is
  // ever written twice: bytes lie at their offset in the channel, and full pages are left behind.
  net::Fd pages_;
  std::int64_t pages_from_ = 0;
  bool sends_ = true;
};

// After a kill: how much of a channel its output got, which then is the mark. `fd` is where that
// went, if it is still there; `consumed` is what the state says.
[[nodiscard]] std::int64_t settle(OutputMarks& marks, int fd, std::int64_t consumed);

// Reads the input into the session. Exact for pipes (the bytes move into the state file first) and
// plain files (the offset is in the state). What was typed at a terminal within the moment of the
// kill may be lost, as its person sees.
class CountedInput {
 public:
  // `before`: of a state from which this console goes on.
  CountedInput(StateFile& file, int fd, const InputPosition& before);
  [[nodiscard]] ssize_t read(int fd, char* to, std::size_t size);  // As read(2).
  [[nodiscard]] InputPosition position() const { return position_; }
  // The state that is in the file has position(), and room for so many bytes more.
  void noted(std::size_t room);

 private:
  enum class Kind : std::uint8_t { pipe, file, other };
  ssize_t take(int fd, char* to, std::size_t size);
  ssize_t read_file(int fd, char* to, std::size_t size);

  StateFile& file_;
  Kind kind_ = Kind::other;
  InputPosition position_;
  std::size_t room_ = 0;  // One piece at a time is not in the state, and no longer than this.
};

// After a kill: what was taken of the input and is not in the state.
[[nodiscard]] Result<std::string> taken_since(const StateFile& file, const InputPosition& noted);

}  // namespace everspan::console
