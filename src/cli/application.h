// The program's arguments: private to cli/, the only header that knows CLI11.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/context.h"
#include "cli/core/text.h"
#include "cli/run.h"

namespace everspan::cli {

using Command = std::function<int(Context&)>;

// The commands of one run: the callbacks of CLI11 only choose, so that all arguments are read
// first.
struct Application {
  CLI::App app{"Everspan: administration and remote access over one site"};
  Globals globals;
  std::string timeout;
  Command chosen;
  const Programs* programs = nullptr;
  std::vector<std::string> remote_command;
  bool takes_remote_command = false;

  CLI::App* command(CLI::App* parent, const std::string& name, const std::string& what) {
    CLI::App* out = parent->add_subcommand(name, what);
    out->fallthrough();
    return out;
  }
  CLI::App* group(const std::string& name, const std::string& what) {
    CLI::App* out = command(&app, name, what);
    out->require_subcommand(1);
    return out;
  }
  // Arguments live as long as the application: CLI11 writes into them.
  template <class Arguments>
  std::shared_ptr<Arguments> keep() {
    auto out = std::make_shared<Arguments>();
    kept.push_back(out);
    return out;
  }
  std::vector<std::shared_ptr<void>> kept;

  void choose(CLI::App* at, Command what) {
    at->callback([this, what = std::move(what)] { chosen = what; });
  }
};

// The commands of the pair (failover_arguments.cc).
void add_failover(Application& a);

// An option that takes "30s" or "10m".
template <class Into>
void duration_option(CLI::App* at, const std::string& name, Into into, const std::string& what) {
  at->add_option_function<std::string>(
        name,
        [into](const std::string& text) {
          const auto length = parse_duration(text);
          if (!length) throw CLI::ValidationError(length.error().text());
          into(*length);
        },
        what)
      ->type_name("TIME");
}

}  // namespace everspan::cli
