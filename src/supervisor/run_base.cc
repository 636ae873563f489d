#include "supervisor/run_base.h"

#include <getopt.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>

#include "common/failpoint.h"
#include "common/log.h"
#include "common/version.h"
#include "supervisor/base_server.h"
#include "supervisor/detail/files.h"
#include "supervisor/first_start.h"
#include "supervisor/releases.h"

namespace everspan::supervisor {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;
constexpr int kRefused = 3;

constexpr const char* kHelp =
    "everspan-base runs one node of an Everspan site: it starts the site software, decides which\n"
    "process of it may write, and replaces it by a new release without a break.\n"
    "\n"
    "  everspan-base --data DIR --listen HOST:PORT [options]\n"
    "\n"
    "  --data DIR              the node's data folder (made at the first start)\n"
    "  --listen HOST:PORT      where the site is reached\n"
    "First start only:\n"
    "  --site NAME             name of the site that is made\n"
    "  --admin NAME            its first administrator (default: admin)\n"
    "  --password-file FILE    his password; else it is asked for, or made and shown once\n"
    "  --name NAME             a name or address for the certificate; may be repeated\n"
    "  --initial-release PATH  release folder or everspan-site program (default: beside this one)\n"
    "  --trusted-root FILE     root.json of the update repository to trust\n"
    "  --join                  make no site: wait for another node's (instead of --site, --admin,\n"
    "                          --password-file, --name); says what to do next\n"
    "Always:\n"
    "  --site-user USER        who the site runs as (default: everspan, or uid 64777)\n"
    "  --heartbeat-ms N        how often the site says that it is well (default: 200)\n"
    "  --ready-wait-ms N       how long a candidate may take to be ready (default: 60000)\n"
    "  --site-log file|inherit where the site's log goes (default: DIR/run/site-*.log)\n"
    "  --foreground            stay in the foreground (the only way; for scripts that say so)\n"
    "  --version, --help\n"
    "\n"
    "Exit: 0 stopped in order, 1 failed, 2 usage, 3 refused. SIGTERM stops the node in order;\n"
    "if base itself is killed the site goes on, and a new base finds it again.\n";

struct CommandLine {
  std::string data, listen, site_user, initial_release, trusted_root;
  FirstStart first;
  std::uint32_t heartbeat_ms = 200;
  std::uint32_t ready_wait_ms = 60'000;
  bool inherit_log = false;
  bool join = false;
  bool makes_site = false;  // An option of those that only a site of its own needs.
};

int say(int status, const Error& error) {
  std::fprintf(stderr, "everspan-base: %s\n", error.text().c_str());
  return status;
}

Result<std::uint32_t> parse_ms(const char* text, std::uint32_t least, std::uint32_t most) {
  const std::string_view view = text;
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  if (error != std::errc{} || end != view.data() + view.size() || value < least || value > most)
    return fail("usage", "A time is a number of milliseconds from " + std::to_string(least) +
                             " to " + std::to_string(most) + ", not '" + printable(view) + "'");
  return value;
}

enum Option : int {
  kData = 1000,
  kListen,
  kSite,
  kAdmin,
  kPasswordFile,
  kName,
  kInitialRelease,
  kTrustedRoot,
  kJoin,
  kSiteUser,
  kHeartbeat,
  kReadyWait,
  kSiteLog,
  kForeground,
  kVersion,
  kHelpOption
};

Result<void> take(CommandLine& out, int option, const char* value) {
  switch (option) {
    case kData:
      out.data = value;
      return {};
    case kListen:
      out.listen = value;
      return {};
    case kSite:
      out.first.site = value;
      out.makes_site = true;
      return {};
    case kAdmin:
      out.first.admin = value;
      out.makes_site = true;
      return {};
    case kPasswordFile:
      out.first.password_file = value;
      out.makes_site = true;
      return {};
    case kName:
      out.first.certificate_names.emplace_back(value);
      out.makes_site = true;
      return {};
    case kInitialRelease:
      out.initial_release = value;
      return {};
    case kTrustedRoot:
      out.trusted_root = value;
      return {};
    case kJoin:
      out.join = true;
      return {};
    case kSiteUser:
      out.site_user = value;
      return {};
    case kForeground:
      return {};
    case kHeartbeat: {
      auto ms = parse_ms(value, 20, 5000);
      if (!ms) return fail(ms);
      out.heartbeat_ms = *ms;
      return {};
    }
    case kReadyWait: {
      auto ms = parse_ms(value, 100, 24 * 3600 * 1000);
      if (!ms) return fail(ms);
      out.ready_wait_ms = *ms;
      return {};
    }
    case kSiteLog:
      if (std::string_view(value) != "file" && std::string_view(value) != "inherit")
        return fail("usage", "--site-log is file or inherit");
      out.inherit_log = std::string_view(value) == "inherit";
      return {};
    default:
      return fail("usage", "This option is not known");
  }
}

Result<CommandLine> parse(int argc, char** argv) {
  static const std::array<option, 17> kOptions = {
      {{"data", required_argument, nullptr, kData},
       {"listen", required_argument, nullptr, kListen},
       {"site", required_argument, nullptr, kSite},
       {"admin", required_argument, nullptr, kAdmin},
       {"password-file", required_argument, nullptr, kPasswordFile},
       {"name", required_argument, nullptr, kName},
       {"initial-release", required_argument, nullptr, kInitialRelease},
       {"trusted-root", required_argument, nullptr, kTrustedRoot},
       {"join", no_argument, nullptr, kJoin},
       {"site-user", required_argument, nullptr, kSiteUser},
       {"heartbeat-ms", required_argument, nullptr, kHeartbeat},
       {"ready-wait-ms", required_argument, nullptr, kReadyWait},
       {"site-log", required_argument, nullptr, kSiteLog},
       {"foreground", no_argument, nullptr, kForeground},
       {"version", no_argument, nullptr, kVersion},
       {"help", no_argument, nullptr, kHelpOption},
       {nullptr, 0, nullptr, 0}}};
  CommandLine out;
  for (int c = 0; (c = getopt_long(argc, argv, "", kOptions.data(), nullptr)) != -1;) {
    if (c == kVersion) {
      std::printf("everspan-base %s\n", std::string(program_version()).c_str());
      std::exit(0);
    }
    if (c == kHelpOption) {
      std::fputs(kHelp, stdout);
      std::exit(0);
    }
    if (auto taken = take(out, c, optarg); !taken) return fail(taken);
  }
  if (optind < argc) return fail("usage", "What is '" + printable(argv[optind]) + "'?");
  if (out.data.empty() || out.listen.empty())
    return fail("usage", "--data DIR and --listen HOST:PORT are needed", "",
                "everspan-base --help");
  if (out.join && out.makes_site)
    return fail("usage",
                "--join takes the other node's site: --site, --admin, --password-file and --name "
                "are of one that is made here",
                "", "everspan-base --help");
  return out;
}

std::string program_beside_us() {
  std::array<char, 4096> path{};
  const auto n = readlink("/proc/self/exe", path.data(), path.size() - 1);
  if (n <= 0) return std::string(kSiteProgram);
  return detail::folder_of(std::string(path.data(), static_cast<std::size_t>(n))) + "/" +
         std::string(kSiteProgram);
}

// Thousands of sessions are two descriptors each: as many as this system allows.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

Result<void> take_trusted_root(const Layout& layout, const std::string& file) {
  if (file.empty() || detail::exists(layout.trust() + "/root.json")) return {};
  auto bytes = detail::read_file(file, 1U << 20);
  if (!bytes) return fail(bytes);
  return detail::write_file_durably(layout.trust() + "/root.json", *bytes, 0644);
}

Result<std::string> arm_failpoints(const Layout& layout, const SiteUser& user) {
  const char* text = getenv("EVERSPAN_FAILPOINT");
  if (text == nullptr || !failpoints_allowed(layout)) return std::string{};
  if (auto armed = failpoints_enable(text); !armed) return fail(armed);
  if (failpoints_armed_count() == 0) return std::string{};
  if (auto shared = share_failpoint_hits(layout, user); !shared) return fail(shared);
  log_warning("base.failpoint_armed", {{"failpoint", failpoints_armed()}});
  return std::string(text);
}

Result<std::unique_ptr<BaseServer>> open_node(const CommandLine& wanted) {
  BaseOptions options;
  auto data = detail::absolute(wanted.data);
  if (!data) return fail(data);
  options.layout.data = *data;
  auto listen = net::Address::parse(wanted.listen);
  if (!listen) return fail(listen);
  options.listen = *listen;
  auto user = find_site_user(wanted.site_user);
  if (!user) return fail(user);
  options.user = *user;
  if (!user->separate)
    log_warning(
        "base.single_user",
        {{"text",
          "not started as root: one user for base and site, privileges are not separated"}});
  if (auto reachable = check_reachable(options.layout, *user); !reachable) return fail(reachable);
  if (auto made = make_layout(options.layout, *user); !made) return fail(made);
  auto failpoint = arm_failpoints(options.layout, *user);
  if (!failpoint) return fail(failpoint);
  options.site_failpoint = *failpoint;
  auto node = load_or_make_node_id(options.layout);
  if (!node) return fail(node);
  options.node = *node;
  if (auto taken = take_trusted_root(options.layout, wanted.trusted_root); !taken)
    return fail(taken);
  auto names = wanted.first;
  if (std::ranges::find(names.certificate_names, listen->host) == names.certificate_names.end())
    names.certificate_names.push_back(listen->host);
  auto joins = is_to_join(options.layout, wanted.join, wanted.makes_site);
  if (!joins) return fail(joins);
  options.joining = *joins;
  if (!options.joining) {
    auto init = first_start(options.layout, names);
    if (!init) return fail(init);
    options.init = std::move(*init);
  }
  options.initial_release =
      wanted.initial_release.empty() ? program_beside_us() : wanted.initial_release;
  options.heartbeat_ms = wanted.heartbeat_ms;
  options.site_log_inherit = wanted.inherit_log;
  options.limits.ready_wait = std::chrono::milliseconds(wanted.ready_wait_ms);
  return BaseServer::open(std::move(options));
}

}  // namespace

int run_base(int argc, char** argv) {
  set_log_program("base");
  auto wanted = parse(argc, argv);
  if (!wanted) return say(kUsage, wanted.error());
  raise_descriptor_limit();
  signal(SIGXFSZ,
         SIG_IGN);  // A file-size limit is a full disk: an error of the write, not our end.
  auto server = open_node(*wanted);
  if (!server) {
    const auto& code = server.error().code;
    const bool usage = code == "bad_address" || code == "no_user";
    const bool refused = code == "already_running" || code == "cannot_enter" ||
                         code == "has_site" || code == "joining";
    return say(usage ? kUsage : refused ? kRefused : kFailed, server.error());
  }
  return (*server)->run();
}

}  // namespace everspan::supervisor
