#include "update/verify.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>
#include <system_error>
#include <vector>

#include "common/bytes.h"
#include "common/crypto.h"
#include "update/detail/trust_store.h"
#include "update/detail/unpack.h"
#include "update/files.h"
#include "update/limits.h"

namespace everspan::update {
namespace {

struct CheckedMetadata {
  TufCore core;
  std::vector<TufCore::Keep> keeps;  // Stored only when all is verified (V1).
};

Result<CheckedMetadata> check_metadata(const std::string& trust_dir, const detail::Source& source,
                                       WallTime now) {
  auto trust = detail::read_trust(trust_dir);
  if (!trust) return fail(trust);
  std::vector<TufCore::Keep> keeps;
  auto core = detail::run_workflow(std::move(*trust), now, source,
                                   [&](const TufCore::Keep& what) -> Result<void> {
                                     keeps.push_back(what);
                                     return {};
                                   });
  if (!core) return fail(core);
  return CheckedMetadata{std::move(*core), std::move(keeps)};
}

Result<void> store_all(const std::string& dir, const std::vector<TufCore::Keep>& keeps) {
  for (const TufCore::Keep& what : keeps)
    if (const auto kept = detail::keep(dir, what); !kept) return kept;
  return {};
}

Result<std::string> hash_package(int fd) {
  if (::lseek(fd, 0, SEEK_SET) != 0) return fail_file("Cannot rewind the package", errno);
  Sha256Stream hash;
  std::vector<std::uint8_t> buffer(256U << 10);
  for (;;) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_file("Cannot read the package", errno);
    if (got == 0) break;
    hash.add(Bytes(buffer.data(), static_cast<std::size_t>(got)));
  }
  const Sha256 digest = hash.digest();
  return to_hex(digest);
}

Result<OwnedFd> open_package(const VerifyRequest& request, const TargetFile& target) {
  if (target.sha256.empty())
    return fail("bad_metadata", "The metadata gives no SHA-256 for '" + request.target_name + "'");
  if (static_cast<std::uint64_t>(target.length) > kPackageBytesMax)
    return fail("too_large", "The package is larger than allowed");
  auto fd = open_read(request.package_path);
  if (!fd) return fd;
  const auto size = file_size(fd->get());
  if (!size) return fail(size);
  const auto length = static_cast<std::uint64_t>(target.length);
  if (*size < length)
    return fail(
        "truncated",
        "The package has " + std::to_string(*size) + " of " + std::to_string(length) + " bytes",
        "The part that is here", "Download again: it goes on from there");
  const auto digest = hash_package(fd->get());
  if (!digest) return fail(digest);
  if (*size > length || *digest != target.sha256)
    return fail("bad_hash", "The package is not the file that the signed metadata names",
                "Nothing was installed", "Remove it and download again");
  return fd;
}

Result<void> check_choice(const VerifyRequest& request, const Manifest& manifest) {
  if (manifest.platform != request.platform)
    return fail("wrong_platform",
                "The package is for " + manifest.platform + ", this machine is " + request.platform,
                "Nothing was installed");
  if (request.security_floor.empty()) return {};
  const auto floor = Version::parse(request.security_floor);
  if (!floor) return fail(floor);
  if (manifest.version < *floor)
    return fail(
        "below_floor",
        "Release " + manifest.version.text() + " is below the security floor " + floor->text(),
        "Nothing was installed", "Choose a newer release");
  return {};
}

}  // namespace

Result<VerifiedRelease> verify_release(const VerifyRequest& request) {
  auto checked =
      check_metadata(request.trust_dir, detail::folder_source(request.metadata_dir), request.now);
  if (!checked) return fail(checked);
  const auto& files = checked->core.targets().files;
  const auto target = files.find(request.target_name);
  if (target == files.end())
    return fail("unknown_target",
                "The signed metadata knows no '" + printable(request.target_name, 120) + "'",
                "Nothing was installed", "Run `everspan updates check`");
  const auto fd = open_package(request, target->second);
  if (!fd) return fail(fd);
  const auto preview = detail::unpack_fd(fd->get(), "");
  if (!preview) return fail(preview);
  if (const auto choice = check_choice(request, preview->package.manifest); !choice)
    return fail(choice);

  auto unpacked = detail::unpack_fd(fd->get(), request.out_dir);
  if (!unpacked) return fail(unpacked);
  const bool same = unpacked->sha256 == target->second.sha256 &&
                    unpacked->package.digest == preview->package.digest;
  Result<void> kept;
  if (!same)
    kept = fail("bad_hash", "The package changed while it was read", "Nothing was installed");
  if (kept) {
    const std::string& dir =
        request.new_trust_dir.empty() ? request.trust_dir : request.new_trust_dir;
    kept = store_all(dir, checked->keeps);
  }
  if (!kept) {
    detail::remove_tree(request.out_dir);
    return fail(kept);
  }
  return VerifiedRelease{std::move(unpacked->package.manifest),
                         std::move(unpacked->package.digest)};
}

Result<void> adopt_trust(const std::string& trust_dir, const std::string& from, WallTime now) {
  // The child leaves only what changed; the rest is the trust's own.
  const detail::Source newer = detail::folder_source(from);
  const detail::Source own = detail::folder_source(trust_dir);
  const detail::Source either =
      [&](const TufCore::Want& want) -> Result<std::optional<std::string>> {
    auto found = newer(want);
    if (!found || *found || want.role == Role::root) return found;
    return own(want);
  };
  const auto checked = check_metadata(trust_dir, either, now);
  if (!checked) return fail(checked);
  return store_all(trust_dir, checked->keeps);
}

Result<VerifiedRelease> check_release_dir(const std::string& dir) {
  const auto text = read_file(dir + "/manifest.json", kManifestBytesMax);
  if (!text) return fail(text);
  auto manifest = parse_manifest(*text);
  if (!manifest) return fail(manifest);
  std::set<std::string> expected{"manifest.json"};
  for (const ManifestFile& file : manifest->files) {
    expected.insert(file.path);
    const auto fd = open_read(dir + "/" + file.path);
    if (!fd) return fail(fd);
    const auto size = file_size(fd->get());
    if (!size) return fail(size);
    const auto digest = hash_package(fd->get());
    if (!digest) return fail(digest);
    if (*size != file.size || *digest != file.sha256)
      return fail("bad_hash", "'" + file.path + "' is not the file that the manifest names");
  }
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator at(dir, error), end; !error && at != end;
       at.increment(error)) {
    if (at->is_directory(error) && !at->is_symlink(error)) continue;
    const std::string path = std::filesystem::path(at->path()).lexically_relative(dir).string();
    if (!expected.contains(path))
      return fail("bad_package", "The release folder holds '" + printable(path, 120) +
                                     "', which its manifest does not name");
  }
  if (error) return fail_file("Cannot list " + dir, error.value());
  return VerifiedRelease{std::move(*manifest), sha256_hex(*text)};
}

}  // namespace everspan::update
