// An agent's standing link. One shard.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "relay/detail/watched_link.h"
#include "relay/services.h"

namespace everspan::relay {

class Shard;

class AgentLink final : public WatchedLink {
 public:
  AgentLink(Shard& shard, net::Executor executor, std::unique_ptr<net::Transport> transport,
            std::string early)
      : WatchedLink(std::move(executor), std::move(transport), std::move(early)), shard_(shard) {}

  AgentInfo info;
  std::optional<Instant> asked_at;  // Migrate was sent,
  bool under_way = false;           // and counts in the shard's MovePace.
  Instant under_way_since{};

 private:
  void on_link_frame(const wire::Frame& frame, std::string_view raw) override;
  void on_link_closed(const Error& why) override;
  Shard& shard_;
};

}  // namespace everspan::relay
