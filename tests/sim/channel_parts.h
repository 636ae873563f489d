// What channel_world.cc and channel_node.cc share.
#pragma once
#include "channel_world.h"
#include "proto/link.pb.h"

namespace everspan::sim {

using namespace relay_end;
using namespace std::chrono_literals;

inline std::string control(const pb::LinkMessage& message) {
  std::string out;
  const std::string bytes = message.SerializeAsString();
  wire::append_frame(out, wire::Control{bytes});
  return out;
}

struct ChannelWorld::Leg {
  int side = 0;
  int process = 0;
  std::uint64_t generation = 0;
  bool attached = false;
  bool alive = true;     // Bytes still pass.
  bool dropped = false;  // The end closed it or was told that it broke.
  bool draining = false;
  Instant to_end{};  // FIFO: nothing arrives before what was sent before it.
  Instant to_process{};
};
struct ChannelWorld::Process {
  bool up = true;
  Instant bridge_out{};
  int life = 0;
  struct Unsynced {
    int from;
    std::uint32_t channel;
    std::uint64_t begin, end;
  };
  std::vector<Unsynced> unsynced;
  bool sync_planned = false;
};
struct ChannelWorld::Flow {
  std::uint64_t total = 0, written = 0, read = 0;
  bool finished = false, saw_end = false, open = false;
};
struct ChannelWorld::End {
  std::unique_ptr<SessionEnd> session;
  std::map<std::uint64_t, LegPtr> legs;
  std::map<std::uint32_t, Flow> flows;  // written: by us; read: of the other's.
  Instant wake = Instant::max();
  bool ended = false;
  bool app_planned = false;
};

}  // namespace everspan::sim
