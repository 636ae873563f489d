// The console's end of a session, for the CLI: `connect` and `tunnel`.
//
// Both ask the site for a session (POST /api/v1/sessions), attach a leg, and stay through moves and
// losses of legs without a word to what runs through them. They block the calling thread on an
// event loop of their own and take SIGWINCH, SIGINT, SIGTERM and SIGHUP over for as long as they
// run. Notices go to standard error, and only when that is a terminal (errors: always).
#pragma once
#include <string>
#include <vector>

namespace everspan::console {

struct Site {
  std::string host;  // The API's address; legs go where the API's answer says.
  int port = 0;
  std::string token;                     // Bearer token of `login`.
  std::string ca_pem;                    // Trusted roots.
  std::vector<std::string> other_nodes;  // HOST:PORT: asked when the first does not answer.
};

struct ConnectOptions {
  Site site;
  std::string endpoint;           // Name
  bool no_terminal = false;       // -T: no terminal, bytes as they are.
  std::vector<std::string> argv;  // Empty: the login shell.
  std::string reason;             // For the journal; may be empty.
  std::string via;                // The node that the first leg dials; empty: as the site says.
  char escape = '~';              // After a line's start; 0: none. Only with a terminal.
  int in = 0;
  int out = 1;
  int err = 2;
  // A file (0600) that holds what another console needs to go on after this one was killed; or,
  // with `resume`, that one's. Empty: none. It is removed when the session has ended.
  std::string state_file;
  bool resume = false;
};

// Exit status: the remote command's; 128 + its signal; 255 for errors of our own, printed on `err`.
[[nodiscard]] int run_connect(const ConnectOptions& options);

struct TunnelOptions {
  Site site;
  std::string endpoint;
  std::string listen;  // HOST:PORT; port 0 takes any and prints it. Empty with `stdio`.
  bool stdio = false;  // One connection over standard input and output.
  std::string host;    // As the endpoint sees it.
  int port = 0;
  std::string reason;
  int in = 0;
  int out = 1;
  int err = 2;
  bool quiet = false;
};

// 0: ended as asked. 255: an error of our own. Ends at SIGINT and SIGTERM.
[[nodiscard]] int run_tunnel(const TunnelOptions& options);

}  // namespace everspan::console
