// The TUF 1.0 client workflow (specification part 5) as a state machine over bytes: it says which
// file it wants, is given bytes or "not there", and says what to keep. One start time for the whole
// run. Used online by UpdateClient and offline by verify_release.
//
//   roots (N+1, N+2, ... until one is not there) -> timestamp -> snapshot -> targets -> done
//
// Invariants
//   T1  Root N+1 is trusted only when signed by the thresholds of N's keys and of its own, version
//       exactly N+1.
//   T2  Expiry is checked once the chain ended, against one fixed time; intermediate roots may be
//       expired.
//   T3  Versions never go down: timestamp, the snapshot that it names, and each targets file in the
//       snapshot; none of these may disappear. An equal timestamp version is discarded quietly.
//   T4  When the keys of timestamp or snapshot change in a root, the stored ones are dropped before
//       the root is stored (recovery from a fast-forward attack).
//   T5  Bytes are kept as received, and only when verified. A file that is stored already is not
//       asked for.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "update/core/metadata.h"

namespace everspan::update {

struct StoredMetadata {  // What the trusted folder holds; empty: not there.
  std::string root;
  std::string timestamp;
  std::string snapshot;
  std::string targets;
};

class TufCore {
 public:
  struct Want {
    Role role = Role::root;
    std::string name;  // "3.root.json", "timestamp.json", "7.snapshot.json"
    std::size_t bytes_max = 0;
  };
  struct Keep {                     // Do in order: first what is dropped, then what is stored.
    std::vector<std::string> drop;  // "timestamp.json"
    std::string name;               // "root.json"; empty: nothing to store.
    std::string history_name;       // "3.root.json" for roots
    std::string bytes;
  };

  // Codes: no_trust (the stored root is unusable).
  [[nodiscard]] static Result<TufCore> start(StoredMetadata stored, WallTime now);

  // What is needed next; nullopt: done, targets() may be used.
  [[nodiscard]] const std::optional<Want>& want() const { return want_; }
  // The wanted file, or nullopt if the repository has none. An error ends the run; what was kept
  // stays valid. Codes as in verify.h.
  [[nodiscard]] Result<std::vector<Keep>> deliver(std::optional<std::string_view> bytes);

  [[nodiscard]] const Root& root() const { return root_; }
  [[nodiscard]] const Targets& targets() const { return *targets_; }

 private:
  TufCore() = default;
  [[nodiscard]] Result<std::vector<Keep>> take_root(std::string_view bytes);
  [[nodiscard]] Result<void> end_of_roots();
  [[nodiscard]] Result<std::vector<Keep>> take_timestamp(std::string_view bytes);
  [[nodiscard]] Result<void> use_timestamp(Timestamp timestamp);
  [[nodiscard]] Result<Snapshot> check_snapshot(std::string_view bytes) const;
  [[nodiscard]] Result<Targets> check_targets(std::string_view bytes) const;
  [[nodiscard]] Result<void> go_to_snapshot();
  [[nodiscard]] Result<void> go_to_targets();
  [[nodiscard]] std::string versioned(std::int64_t version, std::string_view role) const;

  StoredMetadata stored_;
  WallTime now_;
  std::optional<Want> want_;
  int roots_taken_ = 0;
  Root root_;
  std::optional<Timestamp> timestamp_;
  std::optional<Snapshot> old_snapshot_;  // Stored, signature good: only compared with.
  std::optional<Snapshot> snapshot_;
  std::optional<Targets> targets_;
};

}  // namespace everspan::update
