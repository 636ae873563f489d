#include "supervisor/layout.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <vector>

#include "common/crypto.h"
#include "common/failpoint.h"
#include "net/fd.h"
#include "supervisor/detail/files.h"

namespace everspan::supervisor {
namespace {

constexpr auto kKeepOwner = static_cast<uid_t>(-1);

}  // namespace

Result<SiteUser> find_site_user(const std::string& name) {
  if (geteuid() != 0) return SiteUser{.uid = geteuid(), .gid = getegid(), .separate = false};
  const auto* known = getpwnam(name.empty() ? "everspan" : name.c_str());
  if (known != nullptr && known->pw_uid == 0)
    return fail("no_user", "The site must not run as root", "", "Name another --site-user");
  if (known != nullptr)
    return SiteUser{.uid = known->pw_uid, .gid = known->pw_gid, .separate = true};
  if (!name.empty())
    return fail("no_user", "There is no user '" + name + "'", "", "Make it, or name another one");
  return SiteUser{.uid = kSiteUidDefault, .gid = kSiteUidDefault, .separate = true};
}

namespace {

// "/", "/var", "/var/lib", ...: every folder that has to be entered on the way to `path`, and it.
std::vector<std::string> folders_to(const std::string& path) {
  std::vector<std::string> out{"/"};
  for (std::size_t slash = 0; slash != std::string::npos && slash + 1 < path.size();) {
    slash = path.find('/', slash + 1);
    out.push_back(path.substr(0, slash));
  }
  return out;
}

// In a child that has become the site's user, for only the kernel knows what modes, access lists
// and mounts come to. The index of the first folder that it cannot enter, or none.
[[noreturn]] void try_to_enter(const std::vector<std::string>& folders, const SiteUser& user,
                               int report) {
  std::uint32_t found = UINT32_MAX;
  if (setgroups(0, nullptr) != 0 || setresgid(user.gid, user.gid, user.gid) != 0 ||
      setresuid(user.uid, user.uid, user.uid) != 0)
    _exit(1);
  for (std::uint32_t i = 0; i < folders.size() && found == UINT32_MAX; ++i)
    if (access(folders[i].c_str(), X_OK) != 0 && errno == EACCES) found = i;
  _exit(write(report, &found, sizeof found) == sizeof found ? 0 : 1);
}

Result<std::uint32_t> first_closed(const std::vector<std::string>& folders, const SiteUser& user) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("io", "Making a pipe", errno);
  const net::Fd in(ends[0]);
  net::Fd out(ends[1]);
  const pid_t pid = fork();
  if (pid < 0) return fail_errno("io", "fork", errno);
  if (pid == 0) try_to_enter(folders, user, out.get());
  out.reset();
  std::uint32_t found = 0;
  ssize_t n = 0;
  do n = read(in.get(), &found, sizeof found);
  while (n < 0 && errno == EINTR);
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (n != sizeof found) return fail("io", "It cannot be seen what the site's user may enter");
  return found;
}

}  // namespace

Result<void> check_reachable(const Layout& layout, const SiteUser& user) {
  if (!user.separate) return {};
  const auto folders = folders_to(layout.data);
  const auto closed = first_closed(folders, user);
  if (!closed) return fail(closed);
  if (*closed >= folders.size()) return {};
  const std::string& folder = folders[*closed];
  struct stat info{};
  if (stat(folder.c_str(), &info) != 0) return fail_errno("io", "Looking at " + folder, errno);
  char mode[8];
  snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(info.st_mode & 07777));
  return fail("cannot_enter",
              "The site would run as uid " + std::to_string(user.uid) + ", which cannot enter " +
                  folder + " (of uid " + std::to_string(info.st_uid) + ", mode " + mode +
                  "): it could not reach its data in " + layout.data,
              "Nothing was made or changed",
              "Use a folder that everybody may pass through (/var/lib/everspan), or allow it: "
              "chmod o+x " +
                  folder);
}

Result<void> make_layout(const Layout& layout, const SiteUser& user) {
  std::string at;
  for (std::size_t slash = 1; slash != std::string::npos;) {  // Parents, as they come.
    slash = layout.data.find('/', slash + 1);
    at = layout.data.substr(0, slash);
    if (mkdir(at.c_str(), 0755) != 0 && errno != EEXIST)
      return fail_errno("io", "Making " + at, errno);
  }
  const uid_t root = user.separate ? 0 : kKeepOwner;
  const uid_t site = user.separate ? user.uid : kKeepOwner;
  const auto make = [&](const std::string& path, mode_t mode, uid_t uid, gid_t gid) {
    return detail::make_folder(path, mode, uid, gid);
  };
  auto made = make(layout.data, user.separate ? 01775 : 0755, root, user.gid);
  if (made) made = make(layout.base(), 0700, root, 0);
  if (made) made = make(layout.trust(), 0700, root, 0);
  if (made) made = make(layout.releases(), 0755, root, 0);
  if (made) made = make(layout.run(), 0755, root, 0);
  for (const char* name : {"node", "journal", "blobs", "read", "incoming", "recordings"})
    if (made) made = make(layout.data + "/" + name, 0700, site, user.gid);
  return made;
}

Result<NodeId> load_or_make_node_id(const Layout& layout) {
  if (detail::exists(layout.node_id())) {
    auto text = detail::read_file(layout.node_id(), 256);
    if (!text) return fail(text);
    while (!text->empty() && text->back() == '\n') text->pop_back();
    auto id = NodeId::from_hex(*text);
    if (!id) return fail("bad_node_id", layout.node_id() + " does not hold 32 hex digits");
    return *id;
  }
  const auto id = random_id<NodeId>();
  auto saved = detail::write_file_durably(layout.node_id(), id.hex() + "\n", 0644);
  if (!saved) return fail(saved);
  return id;
}

bool failpoints_allowed(const Layout& layout) {
  struct stat info{};
  if (lstat(layout.failpoints_enabled().c_str(), &info) != 0) return false;
  return S_ISREG(info.st_mode) && info.st_uid == geteuid() && (info.st_mode & 022) == 0;
}

Result<void> share_failpoint_hits(const Layout& layout, const SiteUser& user) {
  const std::string path = layout.failpoint_hits();
  const std::size_t bytes = failpoints_armed_count() * sizeof(std::uint64_t);
  const net::Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (file.get() < 0) return fail_errno("io", "Opening " + path, errno);
  if (ftruncate(file.get(), static_cast<off_t>(bytes)) != 0)  // What it holds stays.
    return fail_errno("io", "Sizing " + path, errno);
  if (user.separate && fchown(file.get(), user.uid, user.gid) != 0)
    return fail_errno("io", "Giving " + path + " to the site", errno);
  void* hits = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (hits == MAP_FAILED) return fail_errno("io", "Mapping " + path, errno);
  failpoints_share_hits(static_cast<std::uint64_t*>(hits));
  return {};
}

}  // namespace everspan::supervisor
