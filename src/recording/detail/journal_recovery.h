// Finds what the files of all processes of this node hold of a session. Reads each file once and
// then only what was added. Blocking; one thread.
#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "common/ids.h"
#include "common/result.h"
#include "recording/core/knowledge.h"
#include "recording/detail/journal_file.h"

namespace everspan::pb {
class RecorderSnapshot;
}

namespace everspan::recording {

class JournalRecovery {
 public:
  explicit JournalRecovery(std::string folder) : folder_(std::move(folder)) {}

  // Reads what is new. Each file is fdatasync'ed before it is read, so all that is found is
  // durable.
  [[nodiscard]] Result<void> refresh();
  // Empty if no file knows the session.
  void find(const SessionId& session, pb::RecorderSnapshot& out) const;

 private:
  struct Seen {
    std::uint64_t bytes = 0;  // Whole good records up to here.
    std::map<std::uint32_t, SessionId> streams;
  };
  [[nodiscard]] Result<void> refresh_file(const JournalName& name);

  std::string folder_;
  std::map<JournalName, Seen> files_;
  std::map<SessionId, Knowledge> sessions_;
};

}  // namespace everspan::recording
