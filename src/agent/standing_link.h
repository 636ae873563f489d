// One standing link: the agent is present at the site by it, and hears of new sessions. The agent
// holds up to two for a moment (make before break).
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "agent/identity.h"
#include "net/async.h"
#include "net/frame_link.h"
#include "net/tls.h"

namespace everspan::pb {
class Orders;
class Migrate;
}  // namespace everspan::pb

namespace everspan::agent {

class StandingLink : public net::FrameLink::Handler {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void on_orders(const pb::Orders& orders) = 0;
    virtual void on_migrate(StandingLink& link, const pb::Migrate& migrate) = 0;
    virtual void on_open_session(const std::string& signed_grant) = 0;
    virtual void on_link_closed(StandingLink& link, const Error& why) = 0;
  };

  // Dials, greets, registers with a proof of the endpoint's key. References outlive the task and
  // link.
  static net::Task<Result<std::shared_ptr<StandingLink>>> open(
      net::Executor executor, Owner& owner, const Identity& identity, const SigningKey& key,
      const net::TlsContext& tls, std::vector<std::string> live_sessions, relay_end::Candidate to,
      Instant deadline);

  StandingLink(net::Executor executor, Owner& owner, std::unique_ptr<net::Transport> transport,
               std::string early);
  void start() { link_.start(); }
  void close_softly();  // What is under way is finished; then on_link_closed.
  void close() { link_.close(); }
  void refuse(const std::string& session_id, const Error& why);
  void ping();
  [[nodiscard]] Instant heard_at() const { return heard_at_; }

  void on_frame(const wire::Frame& frame, std::string_view raw) override;
  void on_closed(const Error& why) override { owner_.on_link_closed(*this, why); }

 private:
  Owner& owner_;
  Instant heard_at_;
  std::uint64_t pings_ = 0;
  net::FrameLink link_;
};

}  // namespace everspan::agent
