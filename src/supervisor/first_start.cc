#include "supervisor/first_start.h"

#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <optional>

#include "common/crypto.h"
#include "supervisor/detail/files.h"

namespace everspan::supervisor {
namespace {

// Echo is off while this lives.
class NoEcho {
 public:
  NoEcho() {
    if (tcgetattr(STDIN_FILENO, &before_) != 0) return;
    auto quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    changed_ = tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) == 0;
  }
  ~NoEcho() {
    if (changed_) tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
  }
  NoEcho(const NoEcho&) = delete;
  NoEcho& operator=(const NoEcho&) = delete;
  [[nodiscard]] bool changed() const { return changed_; }

 private:
  termios before_{};
  bool changed_ = false;
};

std::optional<std::string> read_line() {
  std::string line;
  char c = 0;
  for (;;) {
    const auto n = read(STDIN_FILENO, &c, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return std::nullopt;
    if (c == '\n') return line;
    line += c;
    if (line.size() > kPasswordBytesMost) return std::nullopt;
  }
}

Result<void> check_password(const std::string& password) {
  if (password.size() < kPasswordBytesLeast)
    return fail("bad_password", "A password needs at least 10 characters");
  if (password.size() > kPasswordBytesMost)
    return fail("bad_password", "A password has at most 1024 bytes");
  return {};
}

// An empty answer: generate one.
Result<std::string> ask_twice(const std::string& admin) {
  for (int attempt = 0; attempt < 3; ++attempt) {
    const NoEcho quiet;
    if (!quiet.changed()) return fail("bad_password", "The terminal cannot hide what is typed");
    std::fprintf(stderr, "Password for %s (empty: one is made): ", admin.c_str());
    auto first = read_line();
    std::fputc('\n', stderr);
    if (!first) return fail("bad_password", "No password was given");
    if (first->empty()) return std::string{};
    if (auto good = check_password(*first); !good) {
      std::fprintf(stderr, "%s\n", good.error().message.c_str());
      continue;
    }
    std::fprintf(stderr, "Again: ");
    auto second = read_line();
    std::fputc('\n', stderr);
    const bool same = second && *first == *second;
    if (second) wipe(*second);
    if (same) return std::move(*first);
    wipe(*first);
    std::fprintf(stderr, "The two were not the same\n");
  }
  return fail("bad_password", "No password was agreed on in three tries");
}

Result<std::string> read_password_file(const std::string& path) {
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) return fail_errno("io", "The password file " + path, errno);
  if ((info.st_mode & 007) != 0)
    return fail("bad_password", "The password file can be read by everybody", "",
                "chmod 600 " + path);
  auto text = detail::read_file(path, kPasswordBytesMost + 2);
  if (!text) return fail(text);
  if (const auto end = text->find_first_of("\r\n"); end != std::string::npos) text->resize(end);
  if (auto good = check_password(*text); !good) return fail(good);
  return text;
}

}  // namespace

std::string generate_password() {
  constexpr std::string_view kLetters = "abcdefghjkmnpqrstuvwxyz23456789";  // 31
  constexpr std::uint8_t kFair = 248;  // 8 * 31: bytes from here on would favour some letters.
  std::string out;
  for (std::size_t count = 0; count < 24;) {
    std::uint8_t byte = 0;
    fill_random(&byte, 1);
    if (byte >= kFair) continue;
    if (count != 0 && count % 6 == 0) out += '-';
    out += kLetters[byte % kLetters.size()];
    ++count;
  }
  return out;
}

Result<bool> is_to_join(const Layout& layout, bool join, bool makes_site) {
  if (detail::exists(layout.site_made())) {
    if (!join) return false;
    auto how = detail::read_file(layout.site_made(), 64);
    if (!how) return fail(how);
    if (*how == kSiteJoined) return false;  // The option stays in a service's file for good.
    return fail(
        "has_site", "This folder has a site of its own: " + layout.data, "Nothing was changed",
        "Leave --join away to run it; to join another site name a new --data folder, or run "
        "this one and let `everspan failover establish --overwrite-backup` replace its "
        "site from the other node");
  }
  if (detail::exists(layout.joining())) {
    if (!makes_site) return true;
    return fail("joining", "This folder waits to join another node's site: " + layout.data,
                "Nothing was changed",
                "Leave --site, --admin, --password-file and --name away, or name a new --data "
                "folder for a site of its own");
  }
  if (!join) return false;
  if (detail::exists(layout.log()))  // Stopped in the middle of a first start.
    return fail("has_site", "This folder has a log of a site already: " + layout.data,
                "Nothing was changed", "Leave --join away, or name a new --data folder");
  if (auto written = detail::write_file_durably(layout.joining(), "joining\n", 0600); !written)
    return fail(written);
  return true;
}

Result<std::unique_ptr<SiteInit>> first_start(const Layout& layout, const FirstStart& wanted) {
  if (detail::exists(layout.site_made())) return std::unique_ptr<SiteInit>{};
  std::string password;
  if (!wanted.password_file.empty()) {
    auto given = read_password_file(wanted.password_file);
    if (!given) return fail(given);
    password = std::move(*given);
  } else if (isatty(STDIN_FILENO) != 0) {
    auto given = ask_twice(wanted.admin);
    if (!given) return fail(given);
    password = std::move(*given);
  }
  const bool generated = password.empty();
  if (generated) {
    password = generate_password();
    // The one place where a secret is printed: to the person who started the site, once.
    std::printf("Password of %s, shown once: %s\n", wanted.admin.c_str(), password.c_str());
    std::fflush(stdout);
  }
  auto init = std::make_unique<SiteInit>();
  init->site_name = wanted.site;
  init->admin_name = wanted.admin;
  init->admin_password = password;
  init->password_generated = generated;
  init->certificate_names = wanted.certificate_names;
  // The appliance's authority begins with the same person; each changes his own afterwards.
  init->appliance_admin_name = wanted.admin;
  init->appliance_admin_password = std::move(password);
  return init;
}

}  // namespace everspan::supervisor
