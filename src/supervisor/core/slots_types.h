// What base keeps, hears and does: the values that SlotsCore works on. Pure.
//
// `State` is the durable part (DIR/base/state). Add fields only: a newer base reads an older file,
// and an older base after a rollback must find its own fields unchanged.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "common/time.h"

namespace everspan::supervisor {

// One run of one release. Never used twice, so a late word of an earlier run means nothing. 0:
// none.
using InstanceId = std::uint64_t;

enum class Role : std::uint8_t { active, candidate, fallback, retiring };
[[nodiscard]] std::string_view to_string(Role role);

// Names a process of this machine for good: a pid alone is used again.
struct ProcessRecord {
  std::uint32_t pid = 0;
  std::uint64_t start_ticks = 0;  // field 22 of /proc/PID/stat
  std::string boot_id;
  std::string token;  // Proves the process to a restarted base; 32 random bytes, secret.
  bool operator==(const ProcessRecord&) const = default;
};

struct Slot {
  Role role = Role::active;
  std::string digest;
  InstanceId instance = 0;
  bool ready = false;                    // This instance said Ready.
  std::optional<ProcessRecord> process;  // Of this instance; none: to be started.
  bool operator==(const Slot&) const = default;
};

enum class EffectKind : std::uint8_t {
  self_test,
  stage,
  start_candidate,
  stop_candidate,
  switch_over,
  good,
  back
};
[[nodiscard]] std::string_view to_string(EffectKind kind);

struct Outcome {
  bool pending = false;  // Begun, not known yet how it ends.
  bool ok = false;
  std::string code;
  std::string message;
  std::string next;
  std::string digest;  // stage: of the release
  bool operator==(const Outcome&) const = default;
};
struct Effect {
  std::string key;
  EffectKind kind = EffectKind::stage;
  Outcome outcome;
  bool operator==(const Effect&) const = default;
};

struct State {
  std::uint64_t generation = 0;  // The last one granted.
  InstanceId holder = 0;         // Who holds it; 0: released, or the holder is dead.
  InstanceId next_instance = 1;
  std::vector<Slot> slots;      // At most one each of active, candidate, fallback.
  std::vector<Effect> effects;  // Oldest first, at most Limits::effects_max.
  std::uint32_t watch_silence_ms = 0;
  std::string switch_key;      // Effect that waits for the new writer's word.
  std::string last_switch;     // "", "switched", "went back: <why>"
  std::string security_floor;  // No release below it is started; raised by Good. Empty: none.
  bool operator==(const State&) const = default;
};

struct Release {
  std::string digest;
  std::string version;
  std::string security_floor;  // What it asks the floor to be once it is good.
};

// Each with its reason. Times are long where a false alarm costs sessions, short where waiting
// does.
struct Limits {
  Duration silence = std::chrono::seconds(10);      // Any process, when nothing is watched.
  Duration return_wait = std::chrono::seconds(10);  // To come back to a restarted base.
  Duration handover_silence = std::chrono::milliseconds(1500);  // The writer, when asked to let go.
  Duration release_wait = std::chrono::seconds(5);  // ReleaseWriter to Released: commits of ms.
  Duration activate_wait =
      std::chrono::seconds(5);  // Activate to Activated, beside a fallback: one commit.
  // A candidate builds its read model; a first start makes its site, whatever the machine does
  // beside.
  Duration ready_wait = std::chrono::seconds(60);
  Duration retire_wait = std::chrono::seconds(10);  // Retire to exit, then SIGKILL; longer while
  Duration retire_most = std::chrono::minutes(10);  // it says that ends move away from it.
  Duration restart_first = std::chrono::milliseconds(200);
  Duration restart_most = std::chrono::seconds(30);
  Duration well_after = std::chrono::seconds(60);  // Ran so long: restarts count from 0 again.
  std::uint32_t watch_silence_default_ms = 3000;
  std::uint32_t watch_silence_least_ms = 500;  // Below a few heartbeats every hiccup is an alarm.
  std::size_t effects_max = 1000;              // A plan has tens; a plan in a year keeps all.
  std::size_t key_bytes_max = 256;
};

// --- Events ---
struct FirstRelease {  // Nothing ran here before: make this the active one. Else ignored.
  std::string digest;
};
struct ReleaseKnown {
  Release release;
};
struct Started {
  InstanceId instance = 0;
  ProcessRecord process;
};
struct StartFailed {
  InstanceId instance = 0;
  std::string why;
};
struct Returned {  // Dialled a restarted base and proved itself.
  InstanceId instance = 0;
  bool linked = false;  // It and the other process have their sockets still.
};
struct Disconnected {  // The socket ended; the process may live.
  InstanceId instance = 0;
};
struct Ready {
  InstanceId instance = 0;
};
struct Heartbeat {
  InstanceId instance = 0;
  bool healthy = true;
  std::string why;
  std::uint32_t ends_left = 0;
  bool has_site = false;  // For the first start (base_server.cc); the core decides nothing by it.
};
struct Activated {
  InstanceId instance = 0;
  std::uint64_t generation = 0;
};
struct NotActivated {
  InstanceId instance = 0;
  std::uint64_t generation = 0;
  std::string why;
};
struct Released {
  InstanceId instance = 0;
  std::uint64_t generation = 0;
};
// Dead for certain: reaped, or its pidfd is readable, or /proc shows another process.
struct Exited {
  InstanceId instance = 0;
  std::string how;         // "exit 1", "signal 9"
  bool blameless = false;  // The machine restarted: says nothing about the release.
};
struct StageRequest {
  std::string version, package_path, metadata_dir, target_name;
};
struct SelfTestRequest {
  std::string digest, log_copy;
  std::uint32_t timeout_ms = 0;
};
struct StartCandidateRequest {
  std::string digest;
};
struct StopCandidateRequest {
  std::string why;
};
struct SwitchRequest {
  std::string digest;
  std::uint32_t silence_ms = 0;
};
struct GoodRequest {
  std::string digest{};  // Of what is good; empty: whatever is active.
};
struct BackRequest {
  std::string why;
};
struct QueryRequest {
  std::string of;
};
struct StatusRequest {};
struct Request {
  InstanceId from = 0;
  std::string key;
  std::variant<StageRequest, SelfTestRequest, StartCandidateRequest, StopCandidateRequest,
               SwitchRequest, GoodRequest, BackRequest, QueryRequest, StatusRequest>
      what;
};
struct StageDone {
  std::string key;
  Outcome outcome;
  Release release;
};
struct SelfTestDone {
  std::string key;
  Outcome outcome;
};
struct StopAll {};  // Clean stop of the node.
struct TimePassed {};
using Event = std::variant<FirstRelease, ReleaseKnown, Started, StartFailed, Returned, Disconnected,
                           Ready, Heartbeat, Activated, NotActivated, Released, Exited, Request,
                           StageDone, SelfTestDone, StopAll, TimePassed>;

// --- Actions ---
struct Persist {};  // Make SlotsCore::state() durable. Always first; nothing behind it runs before.
struct StartProcess {
  InstanceId instance = 0;
  std::string digest;
};
struct SendWelcome {
  InstanceId instance = 0;
  Role role = Role::active;
  std::uint64_t generation = 0;
};
struct SendActivate {
  InstanceId instance = 0;
  std::uint64_t generation = 0;
};
struct SendReleaseWriter {
  InstanceId instance = 0;
  std::uint64_t generation = 0;
};
struct LinkPeers {  // Make hand-over socket and bridge, one end of each to each process.
  InstanceId one = 0, other = 0;
};
struct SendPeerGone {
  InstanceId instance = 0;
  std::uint32_t pid = 0;
  std::string how;
};
struct SendRole {
  InstanceId instance = 0;
  Role role = Role::active;
  std::uint64_t generation = 0;
  std::string why;
};
struct SendRetire {
  InstanceId instance = 0;
  std::string why;
};
struct Kill {  // SIGKILL; Exited follows when it is dead, not before.
  InstanceId instance = 0;
  std::string why;
};
struct RunStage {
  std::string key;
  StageRequest what;
};
struct RunSelfTest {
  std::string key;
  SelfTestRequest what;
};
struct Reply {
  InstanceId to = 0;
  std::string key;
  Outcome outcome;
  bool known = true;         // QueryRequest: whether the key was found.
  bool with_status = false;  // Attach SlotsCore's view.
};
struct Note {  // For the log.
  std::string event;
  std::string text;
};
struct Stopped {};  // After StopAll: no process is left.
using Action = std::variant<Persist, StartProcess, SendWelcome, SendActivate, SendReleaseWriter,
                            LinkPeers, SendPeerGone, SendRole, SendRetire, Kill, RunStage,
                            RunSelfTest, Reply, Note, Stopped>;

}  // namespace everspan::supervisor
