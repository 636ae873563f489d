#include "relay/legs/leg_dialer.h"

#include "common/version.h"
#include "net/frame_link.h"
#include "proto/link.pb.h"

namespace everspan::relay_legs {
namespace {

using namespace std::string_view_literals;

std::string control_frame(const pb::LinkMessage& message) {
  const std::string bytes = message.SerializeAsString();
  std::string out;
  wire::append_frame(out, wire::Control{bytes});
  return out;
}

std::string hello_frame(LinkKind kind) {
  pb::LinkMessage message;
  auto& hello = *message.mutable_hello();
  hello.set_kind(kind == LinkKind::agent ? pb::Hello::KIND_AGENT : pb::Hello::KIND_LEG);
  hello.set_release(std::string(program_version()));
  hello.set_wire_min(wire::kWireMin);
  hello.set_wire_max(wire::kWireMax);
  return control_frame(message);
}

Result<void> read_hello_reply(const std::string& bytes, OpenedLink& link) {
  pb::LinkMessage message;
  if (!message.ParseFromString(bytes)) return fail("bad_frame", "The node's greeting is malformed");
  const pb::Refuse* refuse = nullptr;
  if (message.has_refuse()) refuse = &message.refuse();
  if (message.has_hello_reply() && message.hello_reply().has_refuse())
    refuse = &message.hello_reply().refuse();
  if (refuse != nullptr) {
    return fail(refuse->code().empty() ? "refused" : printable(refuse->code(), 40),
                printable(refuse->message()), "", printable(refuse->next()));
  }
  if (!message.has_hello_reply()) return fail("bad_frame", "The node did not answer the greeting");
  const auto& reply = message.hello_reply();
  if (reply.wire() < wire::kWireMin || reply.wire() > wire::kWireMax)
    return fail("wire_range", "The node speaks another version of the link protocol", "",
                "Install the release that it runs (" + printable(reply.release(), 40) + ")");
  link.site_id = reply.site_id();
  link.release = printable(reply.release(), 40);
  return {};
}

}  // namespace

net::Task<Result<OpenedLink>> open_link(const net::TlsContext& context, relay_end::Candidate to,
                                        LinkKind kind, Instant deadline) {
  const net::Address address{.host = to.host, .port = to.port};
  const std::string name = to.node.empty() ? to.host : to.node;
  auto transport = co_await net::tls_connect(context, address, name, deadline);
  if (!transport) co_return fail(transport);
  OpenedLink link;
  link.transport = std::move(*transport);
  const std::string hello = hello_frame(kind);
  const auto written = co_await net::write_all(*link.transport, hello, deadline);
  if (!written) co_return fail(written);
  const auto reply =
      co_await net::read_control(*link.transport, link.early, wire::kHelloBytesMax, deadline);
  if (!reply) co_return fail(reply);
  const auto fine = read_hello_reply(*reply, link);
  if (!fine) co_return fail(fine);
  link.exporter = link.transport->exporter(wire::kExporterLabel, 32);
  if (link.exporter.size() != 32)
    co_return fail("tls_handshake", "The connection has no channel binding");
  co_return link;
}

std::string attach_proof_text(const std::string& exporter, const std::string& session_id,
                              relay_end::Side side, std::uint64_t generation) {
  std::string text("everspan attach 1\0"sv);
  text += exporter;
  text += session_id;
  text += static_cast<char>(side);
  put_u64(text, generation);
  return text;
}

net::Task<Result<OpenedLink>> open_leg(const net::TlsContext& context, const SigningKey& key,
                                       LegIdentity identity, relay_end::Dial dial,
                                       Instant deadline) {
  auto link = co_await open_link(context, dial.candidate, LinkKind::leg, deadline);
  if (!link) co_return fail(link);
  pb::LinkMessage message;
  auto& attach = *message.mutable_attach();
  if (!attach.mutable_grant()->ParseFromString(identity.signed_grant))
    co_return fail("bad_grant", "The grant is malformed");
  attach.set_side(static_cast<pb::Side>(identity.side));
  attach.set_generation(dial.generation);
  attach.set_reason(static_cast<pb::Attach::Reason>(dial.reason));
  attach.set_proof(key.sign(
      attach_proof_text(link->exporter, identity.session_id, identity.side, dial.generation)));
  if (identity.side == relay_end::Side::agent) attach.set_endpoint_key(key.public_key());
  const std::string bytes = control_frame(message);
  const auto written = co_await net::write_all(*link->transport, bytes, deadline);
  if (!written) co_return fail(written);
  co_return link;
}

}  // namespace everspan::relay_legs
