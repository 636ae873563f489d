#include "node/probe.h"

#include "access/core/attach_proof.h"
#include "access/core/grant.h"
#include "common/version.h"
#include "net/frame_link.h"
#include "net/tls.h"
#include "proto/frame.h"
#include "proto/link.pb.h"
#include "site/identity.h"

namespace everspan::node {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kProbeBytes = 32 * 1024;
constexpr std::uint32_t kChannel = 1;
constexpr std::uint32_t kTtlSeconds = 60;

std::unexpected<Error> probe_failed(std::string what) {
  return fail("probe_failed", "The probe session failed: " + what);
}

// One end's leg: frames in and out, one at a time.
class ProbeLeg {
 public:
  ProbeLeg(std::unique_ptr<net::Transport> transport, Instant deadline)
      : transport_(std::move(transport)), deadline_(deadline) {}

  [[nodiscard]] net::Task<Result<void>> send(std::string frames) {
    co_return co_await net::write_all(*transport_, std::move(frames), deadline_);
  }
  [[nodiscard]] net::Task<Result<void>> send_message(pb::LinkMessage message) {
    const std::string bytes = message.SerializeAsString();
    std::string frame;
    wire::append_frame(frame, wire::Control{bytes});
    co_return co_await send(std::move(frame));
  }

  // The next frame; what it points to is good until the next call.
  [[nodiscard]] net::Task<Result<wire::Frame>> next() {
    buffer_.erase(0, used_);
    used_ = 0;
    for (;;) {
      std::size_t size = 0;
      Result<std::optional<wire::Frame>> frame = wire::parse_frame(buffer_, size);
      if (!frame) co_return fail(frame);
      if (frame->has_value()) {
        used_ = size;
        co_return **frame;
      }
      Result<std::string> more =
          co_await net::read_some(*transport_, wire::kFrameBytesMax, deadline_);
      if (!more) co_return fail(more);
      if (more->empty()) co_return probe_failed("the relay closed the connection");
      buffer_ += *more;
    }
  }
  // The next control message of kind `wanted`; other frames are passed over.
  [[nodiscard]] net::Task<Result<pb::LinkMessage>> next_message(pb::LinkMessage::WhatCase wanted) {
    for (;;) {
      Result<wire::Frame> frame = co_await next();
      if (!frame) co_return fail(frame);
      const auto* control = std::get_if<wire::Control>(&*frame);
      if (control == nullptr) continue;
      pb::LinkMessage message;
      if (!message.ParseFromArray(control->message.data(),
                                  static_cast<int>(control->message.size())))
        co_return probe_failed("a control message cannot be read");
      if (message.what_case() == wanted) co_return std::move(message);
      if (message.has_refuse())
        co_return fail(message.refuse().code(), message.refuse().message(), {},
                       message.refuse().next());
    }
  }
  [[nodiscard]] std::string exporter() const {
    return transport_->exporter(wire::kExporterLabel, access::kExporterBytes);
  }

 private:
  std::unique_ptr<net::Transport> transport_;
  Instant deadline_;
  std::string buffer_;
  std::size_t used_ = 0;
};

struct Probe {
  ProbeTarget target;
  ProbeIdentity identity;
  Instant deadline;
  SessionId session;
  std::string signed_grant;
  SigningKey console_key;
  std::string release;
};

net::Task<Result<std::unique_ptr<ProbeLeg>>> attach(Probe& probe, access::AttachSide side) {
  Result<net::TlsContext> context =
      net::TlsContext::client({probe.target.ca_pem, {}, std::string(wire::kAlpn)});
  if (!context) co_return fail(context);
  Result<std::unique_ptr<net::Transport>> transport = co_await net::tls_connect(
      *context, probe.target.address, probe.target.server_name, probe.deadline);
  if (!transport) co_return fail(transport);
  auto leg = std::make_unique<ProbeLeg>(std::move(*transport), probe.deadline);

  pb::LinkMessage hello;
  hello.mutable_hello()->set_kind(pb::Hello::KIND_LEG);
  hello.mutable_hello()->set_release(std::string(program_version()));
  hello.mutable_hello()->set_wire_min(wire::kWireMin);
  hello.mutable_hello()->set_wire_max(wire::kWireMax);
  const Result<void> greeted = co_await leg->send_message(std::move(hello));
  if (!greeted) co_return fail(greeted);
  Result<pb::LinkMessage> reply = co_await leg->next_message(pb::LinkMessage::kHelloReply);
  if (!reply) co_return fail(reply);
  if (reply->hello_reply().has_refuse())
    co_return fail(reply->hello_reply().refuse().code(), reply->hello_reply().refuse().message());
  probe.release = reply->hello_reply().release();

  const bool console = side == access::AttachSide::console;
  const access::AttachClaim claim{probe.session, side, 1};
  const SigningKey& key = console ? probe.console_key : *probe.identity.endpoint_key;
  Result<std::string> proof = access::prove_attach(key, leg->exporter(), claim);
  if (!proof) co_return fail(proof);
  pb::LinkMessage message;
  pb::Attach& request = *message.mutable_attach();
  if (!request.mutable_grant()->ParseFromString(probe.signed_grant))
    co_return probe_failed("its own grant cannot be read");
  request.set_side(console ? pb::SIDE_CONSOLE : pb::SIDE_AGENT);
  request.set_generation(1);
  request.set_reason(pb::Attach::REASON_FIRST);
  request.set_proof(*proof);
  if (!console) request.set_endpoint_key(key.public_key());
  const Result<void> asked = co_await leg->send_message(std::move(message));
  if (!asked) co_return fail(asked);
  const Result<pb::LinkMessage> attached = co_await leg->next_message(pb::LinkMessage::kAttached);
  if (!attached) co_return fail(attached);
  co_return std::move(leg);
}

// Everything of `channel` up to `size` bytes, and what else came is passed over.
net::Task<Result<std::string>> read_channel(ProbeLeg& leg, std::uint32_t channel,
                                            std::size_t size) {
  std::string out;
  while (out.size() < size) {
    Result<wire::Frame> frame = co_await leg.next();
    if (!frame) co_return fail(frame);
    const auto* data = std::get_if<wire::Data>(&*frame);
    if (data == nullptr || data->channel != channel) continue;
    if (data->offset != out.size()) co_return probe_failed("bytes came out of order");
    out += data->payload;
  }
  co_return out;
}

net::Task<Result<void>> wait_recorded(ProbeLeg& leg, std::uint64_t durable) {
  for (;;) {
    Result<wire::Frame> frame = co_await leg.next();
    if (!frame) co_return fail(frame);
    const auto* recorded = std::get_if<wire::Recorded>(&*frame);
    if (recorded != nullptr && recorded->channel == kChannel && recorded->durable >= durable)
      co_return Result<void>();
  }
}

// Channel 0: says what channel 1 is, so that the recorder knows how to keep it.
std::string open_channel_frame() {
  pb::SessionControl control;
  control.mutable_open()->set_channel(kChannel);
  control.mutable_open()->set_kind("exec");
  const std::string bytes = control.SerializeAsString();
  std::string payload;
  put_u32(payload, static_cast<std::uint32_t>(bytes.size()));
  payload += bytes;
  std::string frame;
  wire::append_frame(frame, wire::Data{0, false, 0, payload});
  return frame;
}

net::Task<Result<void>> exchange(ProbeLeg& console, ProbeLeg& agent) {
  const std::string content = random_bytes(kProbeBytes);
  std::string frames = open_channel_frame();
  wire::append_frame(frames, wire::Data{kChannel, false, 0, content});
  const Result<void> sent = co_await console.send(std::move(frames));
  if (!sent) co_return fail(sent);
  const Result<std::string> there = co_await read_channel(agent, kChannel, kProbeBytes);
  if (!there) co_return fail(there);
  if (*there != content) co_return probe_failed("other bytes came than were sent");
  std::string answer;
  wire::append_frame(answer, wire::Data{kChannel, false, 0, *there});
  const Result<void> answered = co_await agent.send(std::move(answer));
  if (!answered) co_return fail(answered);
  const Result<std::string> back = co_await read_channel(console, kChannel, kProbeBytes);
  if (!back) co_return fail(back);
  if (*back != content) co_return probe_failed("other bytes came back than were sent");
  co_return co_await wait_recorded(agent, kProbeBytes);
}

}  // namespace

Result<SigningKey> probe_key(const std::string& request_key) {
  return SigningKey::from_seed(
      site::derive_secret(request_key, "everspan probe endpoint 1", RequestId{}));
}

EndpointId probe_endpoint(const SigningKey& key) {
  EndpointId id;
  const Sha256 digest = sha256(key.public_key());
  std::copy_n(digest.begin(), id.bytes.size(), id.bytes.begin());
  return id;
}

net::Task<Result<ProbeReport>> run_probe(ProbeTarget target, ProbeIdentity identity,
                                         Instant deadline) {
  Probe probe{std::move(target),      identity, deadline, random_id<SessionId>(), {},
              SigningKey::generate(), {}};
  access::GrantClaims claims;
  claims.site = identity.site;
  claims.session = probe.session;
  claims.endpoint = identity.endpoint;
  claims.person = "probe";
  claims.console_key = probe.console_key.public_key();
  claims.rights = {"exec"};
  claims.not_before = net::wall_now();
  claims.not_after = claims.not_before.after(60s);
  claims.epoch = identity.epoch;
  claims.recording = std::string(access::kRecordingStrict);
  claims.ttl_s = kTtlSeconds;
  Result<std::string> grant = access::sign_grant(claims, *identity.grant_key);
  if (!grant) co_return fail(grant);
  probe.signed_grant = std::move(*grant);

  Result<std::unique_ptr<ProbeLeg>> agent = co_await attach(probe, access::AttachSide::agent);
  if (!agent) co_return fail(agent);
  Result<std::unique_ptr<ProbeLeg>> console = co_await attach(probe, access::AttachSide::console);
  if (!console) co_return fail(console);
  const Result<void> exchanged = co_await exchange(**console, **agent);
  if (!exchanged) co_return fail(exchanged);

  pb::LinkMessage end;
  end.mutable_end_request()->set_reason("probe done");
  const Result<void> asked = co_await (*agent)->send_message(std::move(end));
  if (!asked) co_return fail(asked);
  const Result<pb::LinkMessage> ended = co_await (*console)->next_message(pb::LinkMessage::kEnded);
  if (!ended) co_return fail(ended);
  co_return ProbeReport{probe.release, kProbeBytes};
}

}  // namespace everspan::node
