// The CLI. connect and tunnel come from console/, everything else from cli/.
#include "cli/run.h"
#include "console/connect.h"

namespace {

everspan::console::Site to_console(const everspan::cli::SiteAccess& site) {
  return {.host = site.host,
          .port = site.port,
          .token = site.token,
          .ca_pem = site.ca_pem,
          .other_nodes = site.other_nodes};
}

int connect(const everspan::cli::ConnectCall& call) {
  everspan::console::ConnectOptions options;
  options.site = to_console(call.site);
  options.endpoint = call.endpoint;
  options.no_terminal = call.no_terminal;
  options.argv = call.command;
  options.reason = call.reason;
  options.via = call.via;
  options.state_file = call.state_file;
  options.resume = call.resume;
  return everspan::console::run_connect(options);
}

int tunnel(const everspan::cli::TunnelCall& call) {
  everspan::console::TunnelOptions options;
  options.site = to_console(call.site);
  options.endpoint = call.endpoint;
  options.listen = call.listen;
  options.stdio = call.stdio;
  options.host = call.host;
  options.port = call.port;
  options.reason = call.reason;
  return everspan::console::run_tunnel(options);
}

}  // namespace

int main(int argc, char** argv) {
  everspan::cli::Programs programs;
  programs.connect = connect;
  programs.tunnel = tunnel;
  return everspan::cli::run(argc, argv, programs);
}
