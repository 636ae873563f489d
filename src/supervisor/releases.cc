#include "supervisor/releases.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "common/crypto.h"
#include "common/failpoint.h"
#include "common/log.h"
#include "supervisor/detail/files.h"
#include "update/core/manifest.h"

namespace everspan::supervisor {
namespace {

constexpr std::size_t kManifestBytesMax = 4U << 20;
constexpr std::uint64_t kFileBytesMax = 2ULL << 30;

std::unexpected<Error> bad(const std::string& what) {
  return fail("bad_release", what, "What runs was not touched");
}

struct Hashed {
  std::string sha256;
  std::uint64_t size = 0;
};

// Hashes `from` to its end; copies to `to` as well, unless that is -1.
Result<Hashed> hash_and_copy(int from, int to, std::uint64_t bytes_max) {
  Sha256Stream hash;
  Hashed out;
  std::vector<std::uint8_t> chunk(256 * 1024);
  for (;;) {
    const auto n = pread(from, chunk.data(), chunk.size(), static_cast<off_t>(out.size));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail_errno("io", "Reading a release", errno);
    if (n == 0) break;
    const Bytes piece(chunk.data(), static_cast<std::size_t>(n));
    out.size += piece.size();
    if (out.size > bytes_max) return bad("A file is larger than its manifest says");
    hash.add(piece);
    for (std::size_t done = 0; to >= 0 && done < piece.size();) {
      const auto w = write(to, piece.data() + done, piece.size() - done);
      if (w < 0 && errno == EINTR) continue;
      if (w < 0)
        return fail_errno(errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? "disk_full" : "io",
                          "Writing a release", errno);
      done += static_cast<std::size_t>(w);
    }
  }
  const auto digest = hash.digest();
  out.sha256 = to_hex(Bytes(digest.data(), digest.size()));
  return out;
}

Result<void> make_parents(const std::string& folder, const std::string& path) {
  for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const auto parent = folder + "/" + path.substr(0, slash);
    if (mkdir(parent.c_str(), 0755) != 0 && errno != EEXIST)
      return fail_errno("io", "Making " + parent, errno);
  }
  return {};
}

Result<void> copy_checked(const std::string& from, const std::string& to,
                          const update::ManifestFile& file) {
  const net::Fd in(open(from.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!in) return fail_errno("bad_release", "Opening " + file.path, errno);
  struct stat info{};
  if (fstat(in.get(), &info) != 0 || !S_ISREG(info.st_mode))
    return bad(file.path + " is not a plain file");
  const mode_t mode = (file.mode & 0111) != 0 ? 0555 : 0444;
  const net::Fd out(open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!out) return fail_errno("io", "Making " + to, errno);
  auto hashed = hash_and_copy(in.get(), out.get(), file.size);
  if (!hashed) return fail(hashed);
  if (hashed->sha256 != file.sha256 || hashed->size != file.size)
    return bad(file.path + " is not what the manifest says");
  if (fchmod(out.get(), mode) != 0 || fsync(out.get()) != 0)
    return fail_errno("io", "fsync of " + to, errno);
  return {};
}

Release describe(const update::Manifest& manifest, const std::string& digest) {
  return Release{.digest = digest,
                 .version = manifest.version.text(),
                 .security_floor = manifest.security_floor.text()};
}

const update::ManifestFile* site_program(const update::Manifest& manifest) {
  const auto at = std::ranges::find_if(
      manifest.files, [](const auto& file) { return detail::name_of(file.path) == kSiteProgram; });
  return at == manifest.files.end() ? nullptr : &*at;
}

Result<update::Manifest> read_manifest(const std::string& folder, std::string_view digest) {
  auto bytes = detail::read_file(folder + "/manifest.json", kManifestBytesMax);
  if (!bytes) return fail(bytes);
  if (sha256_hex(*bytes) != digest) return bad("The manifest is not the one that the digest names");
  return update::parse_manifest(*bytes);
}

// Fills `fresh` from `from`; everything in it is durable afterwards.
Result<void> fill(const std::string& fresh, const std::string& from,
                  const update::Manifest& manifest, std::string_view manifest_bytes) {
  if (auto made = detail::make_folder(fresh, 0755, static_cast<uid_t>(-1), 0); !made) return made;
  for (const auto& file : manifest.files) {
    if (!update::is_safe_path(file.path) || file.size > kFileBytesMax)
      return bad("The manifest names " + printable(file.path));
    if (auto made = make_parents(fresh, file.path); !made) return made;
    auto copied = copy_checked(from + "/" + file.path, fresh + "/" + file.path, file);
    if (!copied) return copied;
    if (auto synced = detail::sync_folder(detail::folder_of(fresh + "/" + file.path)); !synced)
      return synced;
  }
  return detail::write_file_durably(fresh + "/manifest.json", manifest_bytes, 0444);
}

}  // namespace

Result<std::vector<Release>> Releases::list() const {
  std::vector<Release> out;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(layout_.releases().c_str()), closedir);
  if (!dir) return fail_errno("io", "Reading " + layout_.releases(), errno);
  while (const auto* entry = readdir(dir.get())) {
    const std::string name = entry->d_name;
    if (name.starts_with(".")) continue;
    auto manifest = read_manifest(folder(name), name);
    if (manifest)
      out.push_back(describe(*manifest, name));
    else
      log_warning("base.release_ignored",
                  {{"folder", printable(name)}, {"why", manifest.error().message}});
  }
  return out;
}

Result<Release> Releases::adopt(const std::string& from, const std::string& digest) const {
  auto bytes = detail::read_file(from + "/manifest.json", kManifestBytesMax);
  if (!bytes) return fail(bytes);
  if (sha256_hex(*bytes) != digest) return bad("The manifest is not the one that was verified");
  auto manifest = update::parse_manifest(*bytes);
  if (!manifest) return fail(manifest);
  if (manifest->kind != "site" || site_program(*manifest) == nullptr)
    return bad("The package holds no site release");
  if (detail::exists(folder(digest))) {
    auto program = open_program(digest);
    if (program) return describe(*manifest, digest);
    if (auto gone = detail::remove_tree(folder(digest)); !gone) return fail(gone);
  }
  const auto fresh = layout_.releases() + "/.fresh-" + std::to_string(getpid());
  if (auto gone = detail::remove_tree(fresh); !gone) return fail(gone);
  auto filled = fill(fresh, from, *manifest, *bytes);
  if (filled) {
    failpoint("stage.before_rename");
    if (rename(fresh.c_str(), folder(digest).c_str()) != 0)
      filled = fail_errno("io", "Renaming " + fresh, errno);
  }
  if (filled) filled = detail::sync_folder(layout_.releases());
  if (!filled) {
    if (auto gone = detail::remove_tree(fresh); !gone)
      log_warning("base.left_behind", {{"folder", fresh}, {"why", gone.error().text()}});
    return fail(filled);
  }
  return describe(*manifest, digest);
}

Result<Release> Releases::import(const std::string& folder_or_program) const {
  struct stat info{};
  if (stat(folder_or_program.c_str(), &info) != 0)
    return fail_errno("no_release", "The first release " + folder_or_program, errno);
  if (S_ISDIR(info.st_mode)) {
    auto bytes = detail::read_file(folder_or_program + "/manifest.json", kManifestBytesMax);
    if (!bytes) return fail(bytes);
    return adopt(folder_or_program, sha256_hex(*bytes));
  }
  const net::Fd program(open(folder_or_program.c_str(), O_RDONLY | O_CLOEXEC));
  if (!program) return fail_errno("no_release", "Opening " + folder_or_program, errno);
  auto hashed = hash_and_copy(program.get(), -1, kFileBytesMax);
  if (!hashed) return fail(hashed);
  auto version = Version::parse(program_version());
  if (!version) return fail(version);
  update::Manifest manifest;
  manifest.kind = "site";
  manifest.version = *version;
  manifest.platform = update::host_platform();
  manifest.files.push_back({.path = std::string(kSiteProgram),
                            .size = hashed->size,
                            .sha256 = hashed->sha256,
                            .mode = 0755});
  const auto bytes = update::write_manifest(manifest);
  const auto beside = layout_.base() + "/first-release";
  if (auto gone = detail::remove_tree(beside); !gone) return fail(gone);
  if (auto made = detail::make_folder(beside, 0700, static_cast<uid_t>(-1), 0); !made)
    return fail(made);
  if (auto saved = detail::write_file_durably(beside + "/manifest.json", bytes, 0644); !saved)
    return fail(saved);
  auto copied = copy_checked(folder_or_program, beside + "/" + std::string(kSiteProgram),
                             manifest.files.front());
  if (!copied) return fail(copied);
  auto adopted = adopt(beside, sha256_hex(bytes));
  if (auto gone = detail::remove_tree(beside); !gone) return fail(gone);
  return adopted;
}

Result<net::Fd> Releases::open_program(const std::string& digest) const {
  const bool hex = digest.size() == 64 && std::ranges::all_of(digest, [](char c) {
                     return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
                   });
  if (!hex) return fail("unknown_release", "A release is named by 64 hex digits");
  auto manifest = read_manifest(folder(digest), digest);
  if (!manifest) return fail(manifest);
  const auto* file = site_program(*manifest);
  if (file == nullptr) return bad("The release holds no site program");
  const auto path = folder(digest) + "/" + file->path;
  net::Fd program(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!program) return fail_errno("bad_release", "Opening " + path, errno);
  auto hashed = hash_and_copy(program.get(), -1, file->size);
  if (!hashed) return fail(hashed);
  if (hashed->sha256 != file->sha256 || hashed->size != file->size)
    return bad("The site program on disk is not what its manifest says");
  return program;
}

}  // namespace everspan::supervisor
