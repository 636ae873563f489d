// Edits one record so that what this release does not understand survives (DESIGN section 3, 8):
// the stored bytes are parsed, known fields changed, and the parsed original is written back. Never
// build a record anew from an own struct.
//
//   update(reader, writer, edit,
//          edit_message<pb::Account>([](pb::Account& a) { a.set_name("x"); }))
#pragma once
#include <functional>
#include <string>

#include "store/log.h"

namespace everspan::store {

// Bytes of the record (none: it does not exist) to new bytes. May run several times: no side
// effects.
using Edit = std::function<Result<std::string>(const std::optional<std::string>& bytes)>;

struct UpdateOptions {
  RequestId request_id;
  std::uint32_t feature_level = 1;
  bool must_exist = true;  // Else a missing record is made; with it: not_found.
};

// Reads, edits, writes if nobody else wrote meanwhile, else again (at most kUpdateTries times, then
// conflict). Blocks; not from the writer's thread.
inline constexpr int kUpdateTries = 16;
[[nodiscard]] Result<Outcome> update(LogReader& reader, LogWriter& writer, const std::string& kind,
                                     const std::string& key, const Edit& edit,
                                     const UpdateOptions& options = {});
// The same without blocking the caller on the commit; `done` as in LogWriter::submit.
// Reader and writer outlive the call to `done`.
void update_async(LogReader& reader, LogWriter& writer, std::string kind, std::string key,
                  Edit edit, UpdateOptions options, LogWriter::Done done);

// Makes an Edit from a function on a protobuf message; unknown fields stay in the message.
template <class Message, class Change>
[[nodiscard]] Edit edit_message(Change change) {
  return [change](const std::optional<std::string>& bytes) -> Result<std::string> {
    Message message;
    if (bytes && !message.ParseFromString(*bytes))
      return fail("bad_record", "The stored record cannot be read", "Nothing was changed");
    change(message);
    return message.SerializeAsString();
  };
}

}  // namespace everspan::store
