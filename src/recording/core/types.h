// Words of the recording: direction, policy, and who a recording is about.
#pragma once
#include <cstdint>
#include <string>

#include "common/ids.h"

namespace everspan::recording {

enum class Direction : std::uint8_t { c2a = 0, a2c = 1 };  // Console to agent, agent to console.
enum class Policy : std::uint8_t {
  strict,    // Content; an end keeps a byte until it is durable here too.
  metadata,  // Lengths and hashes; acknowledged at once.
  off,       // How far each stream came, once a second; nobody waits for it.
};

struct SessionInfo {
  SessionId session;
  EndpointId endpoint;
  std::string person;
  Policy policy = Policy::strict;
  std::string grant_digest;  // SHA-256 of the Grant bytes, raw.
};

}  // namespace everspan::recording
