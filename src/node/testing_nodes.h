// For tests of node links: nodes with folders of their own, a door on loopback behind real TLS, and
// the frames that strangers send by hand. Tests only.
#pragma once
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "access/core/attach_proof.h"
#include "access/core/node_auth.h"
#include "common/check.h"
#include "net/frame_link.h"
#include "net/socket.h"
#include "net/testing_certificates.h"
#include "net/testing_run.h"
#include "net/tls.h"
#include "node/node_door.h"
#include "node/node_files.h"
#include "node/node_link.h"
#include "proto/frame.h"
#include "proto/link.pb.h"
#include "proto/node_link.pb.h"

namespace everspan::node::testing {

using net::testing::run_task;
using net::testing::run_until;
using net::testing::soon;
using net::testing::stop;

struct TemporaryFolder {
  TemporaryFolder() { check(mkdtemp(path.data()) != nullptr, "a temporary folder"); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  std::string path = (std::filesystem::temp_directory_path() / "everspan-XXXXXX").string();
};

struct TestNode {
  TestNode() { check(files.open().has_value(), "a node's files"); }
  void knows(const TestNode& other, const net::Address& at) {
    PeerEntry peer{other.id, other.files.identity().key.public_key(), at, net::wall_now()};
    check(files.put_peer(peer).has_value(), "a peer is stored");
  }
  TemporaryFolder folder;
  NodeId id = random_id<NodeId>();
  NodeFiles files{folder.path, id};
};

using TransportPointer = std::unique_ptr<net::Transport>;

// A listener behind TLS with a certificate that nobody trusts.
struct Server {
  net::testing::TestCertificate root = net::testing::make_certificate("nobody");
  net::testing::TestCertificate leaf = net::testing::make_certificate("x", &root, "DNS:x.test");
  net::Fd listener = std::move(*net::listen_tcp({"127.0.0.1", 0}));
  net::TlsContext context =
      std::move(*net::TlsContext::server({.certificate_chain_pem = leaf.pem() + root.pem(),
                                          .private_key_pem = leaf.key.pem(),
                                          .alpn = {std::string(wire::kAlpn)}}));
  [[nodiscard]] net::Address address() const { return net::local_address(listener.get()); }
  [[nodiscard]] net::Task<Result<TransportPointer>> accept() {
    Result<net::Fd> tcp = co_await net::accept_tcp(listener.get());
    if (!tcp) co_return fail(tcp);
    Result<TransportPointer> tls = co_await net::tls_accept(context, std::move(*tcp), soon());
    co_return tls;
  }
};

inline net::Task<Result<TransportPointer>> connect(net::Address to) {
  net::TlsClientOptions options;
  options.alpn = std::string(wire::kAlpn);
  options.proved_by_exporter = true;
  Result<net::TlsContext> context = net::TlsContext::client(options);
  if (!context) co_return fail(context);
  Result<TransportPointer> tls = co_await net::tls_connect(*context, to, to.host, soon());
  co_return tls;
}

inline std::string control(const std::string& bytes) {
  std::string frame;
  wire::append_frame(frame, wire::Control{bytes});
  return frame;
}
inline std::string hello(pb::Hello::Kind kind, std::uint32_t wire_min = wire::kWireMin,
                         std::uint32_t wire_max = wire::kWireMax) {
  pb::LinkMessage message;
  message.mutable_hello()->set_kind(kind);
  message.mutable_hello()->set_release("9.9.9");
  message.mutable_hello()->set_wire_min(wire_min);
  message.mutable_hello()->set_wire_max(wire_max);
  return control(message.SerializeAsString());
}
inline std::string hello_reply(const NodeId& node) {
  pb::LinkMessage message;
  message.mutable_hello_reply()->set_wire(wire::kWireMax);
  message.mutable_hello_reply()->set_node_id(node.raw());
  return control(message.SerializeAsString());
}
inline std::string exporter_of(const net::Transport& link) {
  return link.exporter(wire::kExporterLabel, access::kExporterBytes);
}

// A loop, two nodes, and the door of the second one.
class Door : public ::testing::Test {
 protected:
  Door() { scope.spawn("accept", accept_loop()); }
  ~Door() override { EXPECT_TRUE(stop(loop, scope)); }
  void each_knows_the_other() {
    dialler.knows(acceptor, server.address());
    acceptor.knows(dialler, {"127.0.0.1", 1});
  }
  [[nodiscard]] PeerEntry peer() {
    return {acceptor.id, acceptor.files.identity().key.public_key(), server.address(),
            net::wall_now()};
  }
  Result<ProvedLink> dial(LinkPurpose purpose = LinkPurpose::control) {
    return run_task(loop, dial_node(dialler.files.identity(), peer(), purpose, soon()));
  }
  Result<ProvedLink> establish(const std::string& key) {
    return run_task(loop, dial_stranger(dialler.files.identity(), server.address(), key,
                                        dialler.files.peers(), soon()));
  }
  // The door heard of it, too.
  [[nodiscard]] bool came(std::size_t count) {
    return run_until(loop, [&] { return links.size() == count; });
  }
  [[nodiscard]] bool all_left() {
    return run_until(loop, [&] { return door.unproved() == 0; });
  }

  net::asio::io_context loop;
  TestNode dialler;
  TestNode acceptor;
  Server server;
  std::vector<ProvedLink> links;
  std::vector<NodeDoor::Refused> refused;
  NodeDoor door{
      acceptor.files, [this](const NodeDoor::Refused& r) { refused.push_back(r); }, {.most = 4}};
  net::TaskScope scope{loop.get_executor()};

 private:
  net::Task<> accept_loop() {
    for (;;) {
      Result<net::Fd> tcp = co_await net::accept_tcp(server.listener.get());
      if (!tcp) co_return;
      scope.spawn("door", serve(std::make_shared<net::Fd>(std::move(*tcp))));
    }
  }
  net::Task<> serve(std::shared_ptr<net::Fd> tcp) {
    Result<TransportPointer> tls =
        co_await net::tls_accept(server.context, std::move(*tcp), soon());
    if (!tls) co_return;
    std::optional<ProvedLink> link = co_await door.open(std::move(*tls));
    if (link) links.push_back(std::move(*link));
  }
};

}  // namespace everspan::node::testing
