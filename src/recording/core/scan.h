// Walks the records of one recording file and checks form, checksums and chains. Pure: bytes in.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "common/crypto.h"
#include "recording/core/record.h"

namespace everspan::recording {

enum class FileEnd : std::uint8_t {
  whole,    // Ends behind a record
  torn,     // Ends inside one, or its last one is damaged: a crash, or being written
  damaged,  // A damaged record with good ones behind it
};

struct ScannedFile {
  FileEnd end = FileEnd::whole;
  std::uint64_t good_bytes = 0;  // Up to here all records are good.
};

// `each(record, position)` for every good record; `position` is that of the whole record.
using EachRecord = std::function<void(const Record& record, std::uint64_t position)>;
[[nodiscard]] ScannedFile scan_file(std::string_view bytes, const EachRecord& each);

// Follows the chains of all streams of one file.
class ChainCheck {
 public:
  // Chain and end records: false when the digest or count is not that of the records before it.
  [[nodiscard]] bool add(const Record& record);

 private:
  struct Chain {
    Sha256Stream digest;
    std::uint64_t records = 0;
  };
  std::map<std::uint32_t, Chain> chains_;
};

}  // namespace everspan::recording
