// Asks a site that may have several nodes: the one that was named, else another one that is known;
// and where a node answers not_primary, the primary that it names, once (docs/api.md). Blocking;
// for programs that people run.
//
// Invariants
//   N1  A request keeps its headers, so its Idempotency-Key, wherever it is sent: the site runs it
//       once.
//   N2  Each node's certificate is checked against the same authority, for the name that is
//   dialled. N3  A request for one node (`this_node`) is sent to no other. N4  A certificate that
//   is not trusted at the node that was named ends it: nobody else is asked.
//
// A node that hands over, or broke under a request, is asked again for a while (`retry_for`).
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/time.h"
#include "http/client.h"

namespace everspan::http {

struct SiteRequest {
  ClientRequest request;   // `url` is the path: "/api/v1/status".
  bool this_node = false;  // For the node that was named, whatever the other's role is.
  bool repeat = true;      // A 503 may be the answer that is wanted.
};

class SiteClient {
 public:
  struct Options {
    ClientOptions client;
    std::vector<std::string> nodes;  // HOST:PORT, at least one; the named one first.
    std::chrono::milliseconds retry_for{8000};
    std::function<void(const std::string&)> notice;  // To the person: another node was asked.
  };
  explicit SiteClient(Options options);

  // Codes: those of Client; unreachable also when the node is the backup and its primary is away.
  [[nodiscard]] Result<ClientResponse> ask(SiteRequest request);
  // Who answered last.
  [[nodiscard]] const std::string& node() const { return current_; }

 private:
  [[nodiscard]] Result<ClientResponse> ask_from(const std::string& node, SiteRequest& request);
  [[nodiscard]] Result<ClientResponse> once(const std::string& node, ClientRequest request);
  void notice(const std::string& text) const;

  Options options_;
  std::string current_;
  std::map<std::string, Client> clients_;
};

// The primary's address in an answer `not_primary`; nullopt: another answer. Empty: not known.
[[nodiscard]] std::optional<std::string> primary_in(const ClientResponse& response);

}  // namespace everspan::http
