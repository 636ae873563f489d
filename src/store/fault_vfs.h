// A SQLite VFS that wraps the system's and fails on demand: how we learn what a bad disk does to
// us.
//
//   auto faults = FaultVfs::install("faulty");  faults->fail({Call::sync, Fault::eio, 3});
//   options.vfs = "faulty";
//
// Without a plan it only counts. From any thread.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/result.h"

namespace everspan::store {

class FaultVfs {
 public:
  enum class Call { sync, write };
  enum class Fault { eio, enospc };
  struct Plan {
    Call call = Call::sync;
    Fault fault = Fault::eio;
    std::uint64_t nth = 1;  // Counted from arming.
    bool and_all_after = false;
  };

  // `name` is registered with SQLite for as long as the object lives; databases close first.
  static Result<std::unique_ptr<FaultVfs>> install(const std::string& name);
  ~FaultVfs();

  void fail(const Plan& plan);  // Replaces the plan and counts from 0.
  // Asks failpoint("log.sync") and ("log.write") at each call instead, and fails with EIO where
  // they say so: counted with all processes of the node (common/failpoint.h).
  void ask_failpoints();
  void heal();
  [[nodiscard]] std::uint64_t calls(Call call) const;  // Since fail() or heal().
  [[nodiscard]] bool fired() const;
  [[nodiscard]] const std::string& name() const;

  struct State;  // For fault_vfs.cc's C callbacks.

 private:
  explicit FaultVfs(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// name:action:nth, as in EVERSPAN_FAILPOINT=log.sync:eio:3.
struct Failpoint {
  std::string name;
  std::string action;
  std::uint64_t nth = 1;
};
[[nodiscard]] Result<Failpoint> parse_failpoint(std::string_view text);
// EVERSPAN_FAILPOINT, but only where `enabling_file` is a regular file of root's that nobody else
// may write: a person who is root allowed it on this machine. None: not set, or not allowed
// (logged).
[[nodiscard]] Result<std::optional<Failpoint>> failpoint_from_environment(
    const std::string& enabling_file);
// Where log.sync or log.write are armed in this process (log.sync:error:n): a VFS that asks them;
// else none, and the log has the system's own.
[[nodiscard]] Result<std::unique_ptr<FaultVfs>> fault_vfs_for_armed();
// The VFS for log.sync:eio|enospc:n and log.write:..., armed; none for other names.
[[nodiscard]] Result<std::unique_ptr<FaultVfs>> fault_vfs_for(const Failpoint& failpoint);

}  // namespace everspan::store
