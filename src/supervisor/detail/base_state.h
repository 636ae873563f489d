// The inside of BaseServer, split over base_server.cc (the loop) and base_actions.cc (what is
// done).
#pragma once
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "net/fd.h"
#include "net/message_socket.h"
#include "supervisor/base_server.h"
#include "supervisor/releases.h"
#include "supervisor/self_check.h"
#include "supervisor/site_process.h"
#include "supervisor/stage.h"
#include "supervisor/state_file.h"

namespace everspan::supervisor {

struct BaseServer::State {
  struct Process {
    ProcessRecord record;
    net::Fd pidfd;
    std::optional<net::MessageSocket> channel;
    std::deque<net::Message> unsent;  // At most kUnsentMax.
  };
  struct Stranger {
    net::MessageSocket socket;
    Instant deadline;
  };
  struct Listener {
    ListenerName name;
    net::Fd fd;
  };

  State(BaseOptions given, supervisor::State stored, Instant now)
      : options(std::move(given)),
        file(options.layout.state()),
        releases(options.layout),
        core(std::move(stored), options.limits, now) {}

  // The loop (base_server.cc).
  void turn();
  void take_signals();
  void take_stranger();
  void hear_strangers();
  void welcome_back(const Hello& hello, std::vector<net::Fd> fds, net::MessageSocket socket);
  void hear(InstanceId id);
  void bury(InstanceId id);
  void flush(Process& process);

  // Events to the core, its actions to the world (base_actions.cc).
  void tell(Event event) { told.push_back(std::move(event)); }
  void handle_told();
  void perform(const std::vector<Action>& actions);
  void run(const Persist& action);
  void run(const StartProcess& action);
  void run(const SendWelcome& action);
  void run(const LinkPeers& action);
  void run(const Kill& action);
  void run(const RunStage& action);
  void run(const RunSelfTest& action);
  void run(const Reply& action);
  void run(const Note& action);
  void run(const Stopped& action);
  void run(const SendActivate& action);
  void run(const SendReleaseWriter& action);
  void run(const SendPeerGone& action);
  void run(const SendRole& action);
  void run(const SendRetire& action);
  void send(InstanceId to, net::Message message);
  void site_was_made();
  void waits_to_join();
  void site_joined();

  // Sockets and processes that were here before us (base_actions.cc).
  void find_processes();
  [[nodiscard]] bool waits_for_listeners() const;
  void start_postponed();
  Result<void> bind_listeners();
  void take_listeners(const Hello& hello, std::vector<net::Fd> fds);
  [[nodiscard]] StartOptions start_options(const std::string& digest) const;

  BaseOptions options;
  StateFile file;
  Releases releases;
  SlotsCore core;
  net::Fd lock, signals, base_socket;
  std::vector<Listener> listeners;
  std::map<InstanceId, Process> processes;
  std::vector<Stranger> strangers;
  std::vector<StageJob> stage_jobs;
  std::vector<SelfTestJob> self_tests;
  std::deque<Event> told;
  std::deque<StartProcess> postponed;  // Until a returning site brought the listeners.
  bool handling = false;
  bool said_how_to_join = false;
  bool stopping = false;
  bool done = false;
  int exit_status = 0;
};

}  // namespace everspan::supervisor
