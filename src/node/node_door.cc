#include "node/node_door.h"

#include <algorithm>

#include "common/log.h"
#include "common/version.h"
#include "net/frame_link.h"
#include "net/socket.h"
#include "proto/frame.h"
#include "proto/link.pb.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

constexpr auto kGreetWithin = 5s;  // CONTRACT: before authentication.

Result<std::uint32_t> common_wire(const pb::Hello& hello) {
  if (hello.kind() != pb::Hello::KIND_PEER)
    return fail("joining", "This node has no site yet", "",
                "On the node that has the site: everspan failover establish");
  const std::optional<std::uint32_t> spoken =
      wire::common_version(hello.wire_min(), hello.wire_max());
  if (!spoken)
    return fail("wire_range",
                "This node runs release " + std::string(program_version()) +
                    ", which does not speak the protocol of release " +
                    printable(hello.release(), 40),
                "", "Install a release between the two first");
  return *spoken;
}

}  // namespace

class NodeDoor::Place {
 public:
  Place(NodeDoor& door, const net::Address& from)
      : door_(door),
        address_(from.host),
        taken_(door.budget_.begin(address_, door.is_known(address_), net::is_loopback(from))) {}
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() {
    if (taken_) door_.budget_.ended(address_);
  }
  [[nodiscard]] bool taken() const { return taken_; }

 private:
  NodeDoor& door_;
  std::string address_;
  bool taken_;
};

NodeDoor::NodeDoor(const NodeFiles& files, std::function<void(const Refused&)> refused,
                   GreetingBudget::Limits limits)
    : files_(files), refused_(std::move(refused)), budget_(limits) {}

bool NodeDoor::is_known(const std::string& host) const {
  return std::ranges::any_of(files_.peers(),
                             [&](const PeerEntry& peer) { return peer.address.host == host; });
}

void NodeDoor::tell(const Error& why, const net::Address& from) {
  const std::optional<std::uint64_t> untold = budget_.refused(net::now());
  if (!untold) return;
  log_warning("node.refused",
              {{"address", from.text()}, {"why", why.text()}, {"untold", std::to_string(*untold)}});
  refused_({why, from, *untold});
}

net::Task<std::optional<ProvedLink>> NodeDoor::prove(std::unique_ptr<net::Transport> connection,
                                                     std::string early, Instant deadline) {
  const net::Address from = connection->peer();
  Result<ProvedLink> proved =
      co_await accept_node(files_, std::move(connection), std::move(early), deadline);
  if (proved) co_return std::move(*proved);
  // Who only looked who is here (node_at) goes without a word.
  const std::string& code = proved.error().code;
  if (code == "closed" || code == "cut" || code == "timeout" || code == "cancelled")
    log_debug("node.left", {{"address", from.text()}, {"why", proved.error().text()}});
  else
    tell(proved.error(), from);
  co_return std::nullopt;
}

net::Task<std::optional<ProvedLink>> NodeDoor::greet(std::unique_ptr<net::Transport> connection,
                                                     std::string early) {
  const net::Address from = connection->peer();
  const Place place(*this, from);
  if (!place.taken()) {
    tell({"busy", "Too many that have not proved who they are", "", ""}, from);
    co_return std::nullopt;
  }
  std::optional<ProvedLink> link =
      co_await prove(std::move(connection), std::move(early), net::now() + kGreetWithin);
  co_return link;
}

net::Task<std::optional<ProvedLink>> NodeDoor::open(std::unique_ptr<net::Transport> connection) {
  const net::Address from = connection->peer();
  const Place place(*this, from);
  if (!place.taken()) {
    tell({"busy", "Too many that have not proved who they are", "", ""}, from);
    co_return std::nullopt;
  }
  const Instant deadline = net::now() + kGreetWithin;
  std::string early;
  const bool is_node = co_await answer_hello(*connection, early, deadline);
  if (!is_node) {
    connection->close();
    co_return std::nullopt;
  }
  std::optional<ProvedLink> link =
      co_await prove(std::move(connection), std::move(early), deadline);
  co_return link;
}

net::Task<bool> NodeDoor::answer_hello(net::Transport& connection, std::string& early,
                                       Instant deadline) {
  const Result<std::string> bytes =
      co_await net::read_control(connection, early, wire::kHelloBytesMax, deadline);
  pb::LinkMessage hello;
  if (!bytes || !hello.ParseFromString(*bytes) || !hello.has_hello()) co_return false;
  const Result<std::uint32_t> spoken = common_wire(hello.hello());
  pb::LinkMessage message;
  pb::HelloReply& reply = *message.mutable_hello_reply();
  reply.set_wire(spoken ? *spoken : wire::kWireMax);
  reply.set_release(std::string(program_version()));
  reply.set_node_id(files_.identity().node.raw());
  if (!spoken) {
    reply.mutable_refuse()->set_code(spoken.error().code);
    reply.mutable_refuse()->set_message(spoken.error().message);
    reply.mutable_refuse()->set_next(spoken.error().next);
  }
  const std::string text = message.SerializeAsString();
  std::string frame;
  wire::append_frame(frame, wire::Control{text});
  const Result<void> sent = co_await net::write_all(connection, std::move(frame), deadline);
  co_return sent.has_value() && spoken.has_value();
}

}  // namespace everspan::node
