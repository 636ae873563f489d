// Where other nodes come in: a connection that said Hello{KIND_PEER} is asked who it is, within
// 5 seconds and the budget of what has not proved itself (core/greeting_budget.h). The relay reads
// the Hello of a node with a site; a node that has none yet (base --join) reads it here, and lets
// in nobody but nodes.
//
// On the executor that owns the NodeFiles.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "net/transport.h"
#include "node/core/greeting_budget.h"
#include "node/node_link.h"

namespace everspan::node {

class NodeDoor {
 public:
  struct Refused {
    Error why;
    net::Address from;
    std::uint64_t untold = 0;  // So many before it were refused without a word.
  };
  // `files` outlives the door; `refused` is told of a few a minute, not of every one.
  NodeDoor(const NodeFiles& files, std::function<void(const Refused&)> refused,
           GreetingBudget::Limits limits = {});

  // After HelloReply. nullopt: refused, or it only looked who is here.
  [[nodiscard]] net::Task<std::optional<ProvedLink>> greet(
      std::unique_ptr<net::Transport> connection, std::string early);
  // From the first byte on.
  [[nodiscard]] net::Task<std::optional<ProvedLink>> open(
      std::unique_ptr<net::Transport> connection);
  [[nodiscard]] std::size_t unproved() const { return budget_.running(); }

 private:
  class Place;
  [[nodiscard]] bool is_known(const std::string& host) const;
  void tell(const Error& why, const net::Address& from);
  [[nodiscard]] net::Task<std::optional<ProvedLink>> prove(
      std::unique_ptr<net::Transport> connection, std::string early, Instant deadline);
  [[nodiscard]] net::Task<bool> answer_hello(net::Transport& connection, std::string& early,
                                             Instant deadline);

  const NodeFiles& files_;
  std::function<void(const Refused&)> refused_;
  GreetingBudget budget_;
};

}  // namespace everspan::node
