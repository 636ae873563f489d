// The `everspan` program: everything that an administrator does, over the site's API (docs/api.md).
// connect and tunnel live in another module of this layer and are handed in by main().
#pragma once
#include <functional>
#include <string>
#include <vector>

namespace everspan::cli {

struct SiteAccess {
  std::string host;
  int port = 0;
  std::string token;
  std::string ca_pem;
  std::vector<std::string> other_nodes;  // HOST:PORT
};
struct ConnectCall {
  SiteAccess site;
  std::string endpoint;
  bool no_terminal = false;
  std::vector<std::string> command;
  std::string reason;
  std::string via;  // Node that the first leg dials.
  std::string state_file;
  bool resume = false;
};
struct TunnelCall {
  SiteAccess site;
  std::string endpoint;
  std::string listen;  // HOST:PORT; empty with `stdio`.
  bool stdio = false;
  std::string host;
  int port = 0;
  std::string reason;
};

// What main() provides. Without a function the command is not there.
struct Programs {
  std::function<int(const ConnectCall&)> connect;
  std::function<int(const TunnelCall&)> tunnel;
};

// The program's exit status (cli/core/exit_code.h; that of the remote command for connect).
[[nodiscard]] int run(int argc, char** argv, const Programs& programs);

}  // namespace everspan::cli
