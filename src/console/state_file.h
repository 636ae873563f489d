// A file by which another console goes on after this one was killed. It is mapped into memory, so
// what was put there survives the process without a write; two halves take turns, so a kill in the
// middle of an update leaves the one before. Mode 0600: it holds the console's key. One process at
// a time (flock).
//
// It does not survive the machine; neither does the console's work.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "common/result.h"
#include "net/fd.h"

namespace everspan::console {

// How much of a channel its output got, moved on by the kernel itself (counted_io.h). `intent`: a
// write under way whose outcome a file's size will tell; none if intent_bytes is 0.
struct OutputMarks {
  std::int64_t given = 0;
  std::int64_t intent_at = 0;
  std::int64_t intent_file_size = 0;
  std::int64_t intent_bytes = 0;
};

struct Marks {
  OutputMarks main;
  OutputMarks error;
  std::int64_t taken = 0;  // Offset in this file behind what was taken of the input.
};

class StateFile {
 public:
  static constexpr std::size_t kStateBytesMax = 2 * 1024 * 1024;
  static constexpr std::size_t kInputBytes = 64 * 1024;  // Input on its way into the state.

  // Codes: no_file, in_use, bad_state (of an existing one).
  static Result<std::unique_ptr<StateFile>> create(const std::string& path);
  static Result<std::unique_ptr<StateFile>> open(const std::string& path);
  StateFile(const StateFile&) = delete;
  StateFile& operator=(const StateFile&) = delete;
  ~StateFile();

  [[nodiscard]] Result<std::string> read() const;
  void write(const std::string& state);  // At most kStateBytesMax (checked).
  void remove();

  [[nodiscard]] Marks& marks();
  [[nodiscard]] const Marks& marks() const;
  [[nodiscard]] int fd() const { return file_.get(); }
  [[nodiscard]] static std::int64_t input_begin();  // Offset in the file.
  [[nodiscard]] const char* input_at(std::int64_t offset) const;

 private:
  StateFile(std::string path, net::Fd file, void* memory);
  static Result<std::unique_ptr<StateFile>> map(const std::string& path, net::Fd file);
  struct Layout;
  [[nodiscard]] Layout& layout() const;
  std::string path_;
  net::Fd file_;
  void* memory_;
};

}  // namespace everspan::console
