#include "supervisor/stage.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>

#include "common/failpoint.h"
#include "net/async.h"
#include "supervisor/detail/files.h"
#include "supervisor/releases.h"
#include "supervisor/site_process.h"
#include "update/core/json.h"
#include "update/core/manifest.h"
#include "update/verify.h"

namespace everspan::supervisor {
namespace {

using update::Json;
constexpr std::size_t kResultBytesMax = 16 * 1024;  // Below a pipe's buffer: writing never waits.
constexpr std::size_t kTrustFileBytesMax = 8U << 20;
constexpr rlim_t kVerifyCpuSeconds = 300;
constexpr rlim_t kVerifyFileBytes = 2ULL << 30;
constexpr unsigned kStageSeconds =
    600;  // Of the whole job; a large package on a slow disk takes 60.
constexpr int kStageNice = 10;

std::string to_line(const Result<Release>& result) {
  if (result)
    return update::to_json_text(Json::Object{{"ok", true},
                                             {"digest", result->digest},
                                             {"version", result->version},
                                             {"floor", result->security_floor}});
  const auto& e = result.error();
  return update::to_json_text(Json::Object{{"ok", false},
                                           {"code", printable(e.code, 64)},
                                           {"message", printable(e.message, 2000)},
                                           {"next", printable(e.next, 1000)}});
}

Result<Release> from_line(std::string_view line) {
  auto json = update::parse_json(line, {.bytes_max = kResultBytesMax, .depth_max = 4});
  if (!json)
    return fail("stage_failed", "Verifying ended without a word", "What runs was not touched");
  const auto text = [&](const char* key) {
    const auto* at = json->find(key);
    return at != nullptr && at->text() != nullptr ? *at->text() : std::string{};
  };
  const auto* ok = json->find("ok");
  if (ok != nullptr && ok->boolean() != nullptr && *ok->boolean())
    return Release{
        .digest = text("digest"), .version = text("version"), .security_floor = text("floor")};
  return fail(text("code"), text("message"), "What runs was not touched", text("next"));
}

std::string read_to_end(int pipe) {
  std::string out;
  char chunk[4096];
  for (;;) {
    const auto n = read(pipe, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0 || out.size() > kResultBytesMax) return out;
    out.append(chunk, static_cast<std::size_t>(n));
  }
}

[[noreturn]] void say_and_exit(int pipe, const Result<Release>& result) {
  const auto line = to_line(result);
  const bool whole = write(pipe, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  _exit(whole ? 0 : 1);
}

// Ours stays at 3; every other descriptor (listeners, channels of sites!) must not live on here.
void keep_only(int pipe) {
  if (dup2(pipe, 3) < 0 || syscall(SYS_close_range, 4, ~0U, 0) != 0) _exit(73);
}

Result<Release> verify_here(const SiteUser& user, const update::VerifyRequest& request) {
  const rlimit cpu{kVerifyCpuSeconds, kVerifyCpuSeconds};
  const rlimit size{kVerifyFileBytes, kVerifyFileBytes};
  const rlimit no_core{0, 0};
  if (setrlimit(RLIMIT_CPU, &cpu) != 0 || setrlimit(RLIMIT_FSIZE, &size) != 0 ||
      setrlimit(RLIMIT_CORE, &no_core) != 0)
    return fail_errno("stage_failed", "Limits of the verifier", errno);
  if (user.separate &&
      (setgroups(0, nullptr) != 0 || setresgid(user.gid, user.gid, user.gid) != 0 ||
       setresuid(user.uid, user.uid, user.uid) != 0))
    return fail_errno("stage_failed", "Dropping privileges", errno);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
    return fail_errno("stage_failed", "Dropping privileges", errno);
  auto verified = update::verify_release(request);
  if (!verified) return fail(verified);
  return Release{.digest = verified->digest,
                 .version = verified->manifest.version.text(),
                 .security_floor = verified->manifest.security_floor.text()};
}

Result<Release> verify_in_child(const SiteUser& user, const update::VerifyRequest& request) {
  std::array<int, 2> pipe{};
  if (pipe2(pipe.data(), O_CLOEXEC) != 0) return fail_errno("stage_failed", "Making a pipe", errno);
  const net::Fd in(pipe[0]);
  net::Fd out(pipe[1]);
  const auto pid = fork();
  if (pid < 0) return fail_errno("stage_failed", "fork", errno);
  if (pid == 0) {
    keep_only(out.get());
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // A verifier without its stager is of no use.
    alarm(kStageSeconds);
    say_and_exit(3, verify_here(user, request));
  }
  out.reset();
  const auto line = read_to_end(in.get());
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return from_line(line);
}

// The verifier must not read base's folder, nor may the site write what the verifier trusts.
Result<void> copy_trust(const std::string& from, const std::string& to) {
  if (auto made = detail::make_folder(to, 0755, static_cast<uid_t>(-1), 0); !made) return made;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(from.c_str()), closedir);
  if (!dir) return fail_errno("no_trust", "Reading " + from, errno);
  while (const auto* entry = readdir(dir.get())) {
    const std::string name = entry->d_name;
    if (!name.ends_with(".json")) continue;
    auto bytes = detail::read_file(from + "/" + name, kTrustFileBytesMax);
    if (!bytes) return fail(bytes);
    if (auto saved = detail::write_file_durably(to + "/" + name, *bytes, 0644); !saved)
      return saved;
  }
  return {};
}

// `path` is named by the site: only what lies in its own incoming folder is ours to look at.
Result<std::string> inside(const Layout& layout, const std::string& path) {
  auto full = detail::absolute(path);
  if (!full) return fail(full);
  if (!full->starts_with(layout.incoming() + "/"))
    return fail("bad_request", "Packages and metadata lie below the data folder's incoming/");
  return *full;
}

Result<Release> stage_in(const std::string& work, const Layout& layout, const SiteUser& user,
                         const StageRequest& request, const std::string& security_floor) {
  auto package = inside(layout, request.package_path);
  if (!package) return fail(package);
  auto metadata = inside(layout, request.metadata_dir);
  if (!metadata) return fail(metadata);
  const uid_t owner = user.separate ? user.uid : static_cast<uid_t>(-1);
  if (auto made = detail::make_folder(work, 0755, static_cast<uid_t>(-1), 0); !made)
    return fail(made);
  if (auto copied = copy_trust(layout.trust(), work + "/trust"); !copied) return fail(copied);
  for (const char* folder : {"/out", "/out/trust"})
    if (auto made = detail::make_folder(work + folder, 0700, owner, user.gid); !made)
      return fail(made);
  const WallTime now = net::wall_now();
  const update::VerifyRequest verify{.trust_dir = work + "/trust",
                                     .metadata_dir = *metadata,
                                     .target_name = request.target_name,
                                     .package_path = *package,
                                     .out_dir = work + "/out/release",
                                     .now = now,
                                     .platform = update::host_platform(),
                                     .new_trust_dir = work + "/out/trust",
                                     .security_floor = security_floor};
  auto verified = verify_in_child(user, verify);
  if (!verified) return verified;
  failpoint("stage.verified");
  // Base's own check again, in its own folder: a newer trust is kept even if the disk is full now.
  if (auto adopted = update::adopt_trust(layout.trust(), work + "/out/trust", now); !adopted)
    return fail(adopted);
  return Releases(layout).adopt(work + "/out/release", verified->digest);
}

}  // namespace

Result<StageJob> start_stage(const Layout& layout, const SiteUser& user, const std::string& key,
                             const StageRequest& request, const std::string& security_floor) {
  std::array<int, 2> pipe{};
  if (pipe2(pipe.data(), O_CLOEXEC) != 0) return fail_errno("stage_failed", "Making a pipe", errno);
  net::Fd in(pipe[0]);
  const net::Fd out(pipe[1]);
  const auto pid = fork();
  if (pid < 0) return fail_errno("stage_failed", "fork", errno);
  if (pid == 0) {
    keep_only(out.get());
    alarm(kStageSeconds + 60);       // SIGALRM ends it; base then reads an empty word.
    std::ignore = nice(kStageNice);  // Children of it, too: sessions run on the same processors.
    const auto work = layout.run() + "/stage-" + std::to_string(getpid());
    Result<Release> staged = fail("stage_failed", "Nothing was tried");
    if (auto gone = detail::remove_tree(work); !gone)
      staged = fail(gone);
    else
      staged = stage_in(work, layout, user, request, security_floor);
    // Left behind at worst: removed at base's next start.
    std::ignore = detail::remove_tree(work);
    say_and_exit(3, staged);
  }
  net::Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) {
    kill(pid, SIGKILL);
    return fail_errno("stage_failed", "pidfd_open", errno);
  }
  return StageJob{.key = key, .pid = pid, .pidfd = std::move(pidfd), .result = std::move(in)};
}

StageDone finish_stage(StageJob& job) {
  const auto line = read_to_end(job.result.get());
  std::ignore = reap(job.pidfd);
  auto result = from_line(line);
  StageDone done{.key = job.key, .outcome = {}, .release = {}};
  if (result) {
    done.release = *result;
    done.outcome = Outcome{.ok = true, .digest = result->digest};
  } else {
    done.outcome = Outcome{.code = result.error().code,
                           .message = result.error().message,
                           .next = result.error().next};
  }
  return done;
}

void kill_stage(StageJob& job) {
  kill_process(job.pidfd);
  std::ignore = read_to_end(job.result.get());
  int status = 0;
  while (waitpid(job.pid, &status, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace everspan::supervisor
