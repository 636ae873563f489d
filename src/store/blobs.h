// Immutable bytes named by their SHA-256, in a local folder: DIR/ab/cdef... A name that exists is
// whole: it is written under DIR/tmp, fsynced, then renamed. From any thread and process.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "common/bytes.h"
#include "common/result.h"

namespace everspan::store {

class Blobs {
 public:
  static Result<Blobs> open(const std::string& dir);

  // Names are 64 lower-case hex digits. Putting what is there already changes nothing.
  [[nodiscard]] Result<std::string> put(std::string_view bytes);
  [[nodiscard]] Result<std::string> put_file(const std::string& path);  // Copies.
  // Not found: not_found. Larger than `bytes_max`: too_large. Checked against its name: bad_blob.
  [[nodiscard]] Result<std::string> get(std::string_view name, std::size_t bytes_max) const;
  [[nodiscard]] bool exists(std::string_view name) const;
  [[nodiscard]] Result<void> verify(std::string_view name) const;
  // Where the bytes lie, for readers that stream; not_found or bad_blob (no such name).
  [[nodiscard]] Result<std::string> path(std::string_view name) const;

 private:
  explicit Blobs(std::string dir) : dir_(std::move(dir)) {}
  std::string dir_;
};

}  // namespace everspan::store
