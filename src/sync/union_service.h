// Keeps journal, recordings and blobs of two nodes equal over their bulk link (core/union_core.h
// decides; this reads, writes, hashes, fsyncs, on threads of its own). Also sends single files.
//
// Where: journal DIR/<origin hex>/NAME; recordings DIR/NAME if this node wrote it, else DIR/<origin
// hex>/NAME; blobs as store::Blobs. A copy is shown under its name once its first records are
// durable; it holds whole, checked records only. What is not complete is NAME.part; what was in
// conflict with its origin NAME.conflict-* or NAME.beyond-*.
//
// Threads: every method from any thread, none blocks. Callbacks come on the service's threads, must
// only post, and never after the destructor has begun. Errors later than start() are in status().
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "common/crypto.h"
#include "common/ids.h"
#include "common/result.h"
#include "sync/core/union_core.h"
#include "sync/record_walk.h"

namespace everspan::pb {
class UnionMessage;
}

namespace everspan::sync {

// What goes to the journal.
struct UnionNews {
  std::string what;     // union.conflict, union.refused, union.damaged, union.disk_full, ...
  std::string subject;  // Which file.
  std::string detail;   // JSON
};

class UnionService {
 public:
  struct Options {
    NodeId node;
    std::string journal_folder;
    std::string recordings_folder;
    std::string blobs_folder;
    std::string cache_path;   // Hashes of files over a restart; may be lost. Empty: none.
    MakeWalk recording_walk;  // Required.
    std::uint64_t free_bytes_min = 1ULL << 30;  // Nothing is fetched that would leave less.
    std::function<void(UnionNews)> news;        // Required.
  };
  // Reads through the folders on its threads; links may come meanwhile.
  [[nodiscard]] static Result<std::unique_ptr<UnionService>> start(Options options);
  ~UnionService();

  // A bulk link is up; it takes the place of an earlier one. `send` is called from the service's
  // threads, one call at a time, in order. Returns the link's number for the calls below.
  using SendMessage = std::function<void(pb::UnionMessage)>;
  using CloseLink = std::function<void(std::string why)>;  // The peer breaks the protocol.
  std::uint64_t connected(const NodeId& peer, SendMessage send, CloseLink close);
  void disconnected(std::uint64_t link);
  void heard(std::uint64_t link, pb::UnionMessage message);

  [[nodiscard]] UnionStatus status() const;

  // Everything that is at either node now is durable at both: an answer when that is so. Codes:
  // not_connected, disconnected. The value: how many items cannot be copied (status().problem).
  void prove(std::function<void(Result<std::uint64_t> refused)> done);

  // One large file. The sender: reads it once for its hash, then offers it until it is withdrawn;
  // what it says goes to the receiver by other ways. The file must not change meanwhile.
  struct FileName {
    Sha256 sha256{};
    std::uint64_t bytes = 0;
  };
  void offer_file(std::string path, std::function<void(Result<FileName>)> offered);
  void withdraw_file(const Sha256& sha256);
  // The receiver: waits for it, goes on with PATH.part-* of an earlier time, checks it, fsyncs it
  // and renames it to `path` (which must not exist). Codes: exists, bad_hash, cancelled; a lost
  // link or a full disk is waited out.
  void receive_file(const FileName& name, std::string path, std::function<void(Result<void>)> done);
  void cancel_receive(const Sha256& sha256);

 private:
  struct State;
  explicit UnionService(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace everspan::sync
