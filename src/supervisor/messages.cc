#include "supervisor/messages.h"

#include <algorithm>

#include "common/bytes.h"
#include "common/version.h"
#include "proto/base.pb.h"

namespace everspan::supervisor {
namespace {

constexpr std::size_t kTextBytesMax = 4096;  // Paths and reasons.
constexpr std::uint32_t kProtocol = 1;

pb::SlotRole to_pb(Role role) {
  switch (role) {
    case Role::active:
      return pb::SLOT_ACTIVE;
    case Role::candidate:
      return pb::SLOT_CANDIDATE;
    case Role::fallback:
      return pb::SLOT_FALLBACK;
    case Role::retiring:
      return pb::SLOT_FALLBACK;
  }
  return pb::SLOT_UNKNOWN;
}

std::unexpected<Error> bad(const char* what) {
  return fail("bad_message", std::string("A site's message is not understood: ") + what);
}

Result<Event> parse_request(InstanceId from, const pb::BaseRequest& m) {
  Request r{.from = from, .key = m.key(), .what = StatusRequest{}};
  switch (m.what_case()) {
    case pb::BaseRequest::kStage:
      r.what = StageRequest{.version = m.stage().version(),
                            .package_path = m.stage().package_path(),
                            .metadata_dir = m.stage().metadata_dir(),
                            .target_name = m.stage().target_name()};
      if (m.stage().ByteSizeLong() > 4 * kTextBytesMax) return bad("stage is too long");
      return r;
    case pb::BaseRequest::kSelfTest:
      if (m.self_test().ByteSizeLong() > 2 * kTextBytesMax) return bad("self-test is too long");
      r.what = SelfTestRequest{.digest = m.self_test().digest(),
                               .log_copy = m.self_test().log_copy(),
                               .timeout_ms = m.self_test().timeout_ms()};
      return r;
    case pb::BaseRequest::kStartCandidate:
      r.what = StartCandidateRequest{.digest = m.start_candidate().digest()};
      return r;
    case pb::BaseRequest::kStopCandidate:
      r.what = StopCandidateRequest{.why = printable(m.stop_candidate().why())};
      return r;
    case pb::BaseRequest::kSwitch:
      r.what =
          SwitchRequest{.digest = m.switch_().digest(), .silence_ms = m.switch_().silence_ms()};
      return r;
    case pb::BaseRequest::kGood:
      r.what = GoodRequest{.digest = m.good().digest()};
      return r;
    case pb::BaseRequest::kBack:
      r.what = BackRequest{.why = printable(m.back().why())};
      return r;
    case pb::BaseRequest::kQuery:
      r.what = QueryRequest{.of = m.query().of()};
      return r;
    case pb::BaseRequest::kStatus:
      return r;
    case pb::BaseRequest::WHAT_NOT_SET:
      break;
  }
  return bad("request");
}

Hello parse_hello(const pb::SiteHello& m) {
  Hello hello{.pid = m.pid(), .token = m.slot_token(), .peer_pid = m.peer_pid(), .listeners = {}};
  for (const auto& l : m.listeners())
    hello.listeners.push_back({.name = l.name(), .host = l.host(), .port = l.port()});
  return hello;
}

void fill_status(pb::BaseStatus& out, const SlotsCore& core, const BaseFacts& facts) {
  out.set_base_version(std::string(program_version()));
  out.set_generation(core.state().generation);
  out.set_last_switch(core.state().last_switch);
  out.set_security_floor(core.state().security_floor);
  out.set_single_user(facts.single_user);
  const auto version_of = [&](const std::string& digest) {
    const auto at = std::ranges::find(core.releases(), digest, &Release::digest);
    return at == core.releases().end() ? std::string{} : at->version;
  };
  for (const auto& slot : core.state().slots) {
    auto& s = *out.add_slots();
    s.set_role(to_pb(slot.role));
    s.set_digest(slot.digest);
    s.set_version(version_of(slot.digest));
    s.set_pid(slot.process ? slot.process->pid : 0);
    s.set_ready(slot.ready);
  }
  for (const auto& release : core.releases()) {
    auto& r = *out.add_releases();
    r.set_digest(release.digest);
    r.set_version(release.version);
    r.set_verified(true);
  }
}

}  // namespace

Result<std::variant<Event, Hello>> parse_from_site(InstanceId from, std::string_view bytes) {
  using Out = std::variant<Event, Hello>;
  pb::SiteToBase m;
  if (!m.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return bad("not protobuf");
  switch (m.what_case()) {
    case pb::SiteToBase::kHello:
      if (m.hello().protocol() != kProtocol) return bad("another protocol");
      return Out(parse_hello(m.hello()));
    case pb::SiteToBase::kReady:
      return Out(Event(Ready{from}));
    case pb::SiteToBase::kHeartbeat:
      return Out(Event(Heartbeat{.instance = from,
                                 .healthy = m.heartbeat().healthy(),
                                 .why = printable(m.heartbeat().why()),
                                 .ends_left = m.heartbeat().ends_left(),
                                 .has_site = m.heartbeat().has_site()}));
    case pb::SiteToBase::kActivated:
      return Out(Event(Activated{.instance = from, .generation = m.activated().generation()}));
    case pb::SiteToBase::kNotActivated:
      return Out(Event(NotActivated{
          .instance = from,
          .generation = m.not_activated().generation(),
          .why = printable(m.not_activated().code() + ": " + m.not_activated().message())}));
    case pb::SiteToBase::kReleased:
      return Out(Event(Released{.instance = from, .generation = m.released().generation()}));
    case pb::SiteToBase::kRequest: {
      auto request = parse_request(from, m.request());
      if (!request) return fail(request);
      return Out(std::move(*request));
    }
    case pb::SiteToBase::WHAT_NOT_SET:
      break;
  }
  return bad("nothing that this base knows");
}

std::string welcome_bytes(const SendWelcome& what, const WelcomeParts& parts) {
  pb::BaseToSite m;
  auto& w = *m.mutable_welcome();
  w.set_node_id(parts.node_id);
  w.set_data_dir(parts.data_dir);
  w.set_role(to_pb(what.role));
  w.set_generation(what.generation);
  for (const auto& each : parts.listeners) {
    auto& l = *w.add_listeners();
    l.set_name(each.name);
    l.set_host(each.host);
    l.set_port(each.port);
  }
  w.set_release_digest(parts.release_digest);
  w.set_slot_token(parts.slot_token);
  w.set_heartbeat_ms(parts.heartbeat_ms);
  w.set_base_version(std::string(program_version()));
  w.set_base_socket(parts.base_socket);
  w.set_trusted_root(parts.trusted_root);
  w.set_join(parts.join);
  if (parts.init != nullptr) {
    auto& i = *w.mutable_init();
    i.set_site_name(parts.init->site_name);
    i.set_admin_name(parts.init->admin_name);
    i.set_admin_password(parts.init->admin_password);
    i.set_password_generated(parts.init->password_generated);
    for (const auto& name : parts.init->certificate_names) i.add_certificate_names(name);
    i.set_appliance_admin_name(parts.init->appliance_admin_name);
    i.set_appliance_admin_password(parts.init->appliance_admin_password);
  }
  return m.SerializeAsString();
}

std::string peer_bytes(Role role, const std::string& release, std::uint32_t pid) {
  pb::BaseToSite m;
  m.mutable_peer()->set_role(to_pb(role));
  m.mutable_peer()->set_release(release);
  m.mutable_peer()->set_pid(pid);
  return m.SerializeAsString();
}

std::string message_bytes(const SendActivate& what) {
  pb::BaseToSite m;
  m.mutable_activate()->set_generation(what.generation);
  return m.SerializeAsString();
}
std::string message_bytes(const SendReleaseWriter& what) {
  pb::BaseToSite m;
  m.mutable_release_writer()->set_generation(what.generation);
  return m.SerializeAsString();
}
std::string message_bytes(const SendPeerGone& what) {
  pb::BaseToSite m;
  m.mutable_peer_gone()->set_pid(what.pid);
  m.mutable_peer_gone()->set_how(what.how);
  return m.SerializeAsString();
}
std::string message_bytes(const SendRole& what) {
  pb::BaseToSite m;
  m.mutable_role_changed()->set_role(to_pb(what.role));
  m.mutable_role_changed()->set_generation(what.generation);
  m.mutable_role_changed()->set_why(what.why);
  return m.SerializeAsString();
}
std::string message_bytes(const SendRetire& what) {
  pb::BaseToSite m;
  m.mutable_retire()->set_why(what.why);
  return m.SerializeAsString();
}
std::string message_bytes(const Reply& what, const SlotsCore& core, const BaseFacts& facts) {
  pb::BaseToSite m;
  auto& r = *m.mutable_reply();
  r.set_key(what.key);
  r.set_ok(what.outcome.ok);
  r.set_code(what.outcome.code);
  r.set_message(what.outcome.message);
  r.set_next(what.outcome.next);
  r.set_digest(what.outcome.digest);
  r.set_known(what.known);
  if (what.with_status) fill_status(*r.mutable_status(), core, facts);
  return m.SerializeAsString();
}

}  // namespace everspan::supervisor
