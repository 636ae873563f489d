#include "update/client.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "common/bytes.h"
#include "common/crypto.h"
#include "update/detail/trust_store.h"
#include "update/files.h"
#include "update/limits.h"

namespace everspan::update {
namespace {

std::string percent_encoded(std::string_view text, std::string_view also_plain) {
  static constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-_.~").contains(c) || also_plain.contains(c);
    if (plain) {
      out.push_back(c);
    } else {
      out.push_back('%');
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    }
  }
  return out;
}

std::string joined(std::string base, std::string_view name) {
  if (!base.ends_with('/')) base.push_back('/');
  return base += name;
}

// Hashes what is there already, then appends: a download that can go on.
class PartFile {
 public:
  static Result<PartFile> open(const std::string& path, std::uint64_t length) {
    PartFile part;
    part.path_ = path;
    part.fd_ = OwnedFd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (!part.fd_.valid()) return fail_file("Cannot write " + path, errno);
    const auto size = file_size(part.fd_.get());
    if (!size) return fail(size);
    if (*size > length) {
      if (const auto cut = part.restart(); !cut) return fail(cut);
    } else if (const auto read = part.read_back(); !read) {
      return fail(read);
    }
    return part;
  }
  Result<void> restart() {
    if (::ftruncate(fd_.get(), 0) != 0 || ::lseek(fd_.get(), 0, SEEK_SET) != 0)
      return fail_file("Cannot empty " + path_, errno);
    hash_ = Sha256Stream();
    bytes_ = 0;
    return {};
  }
  Result<void> append(Bytes data) {
    if (const auto written = write_all(fd_.get(), data); !written) return written;
    hash_.add(data);
    bytes_ += data.size();
    return {};
  }
  Result<void> sync() { return sync_fd(fd_.get(), path_); }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] std::string sha256() const {
    const Sha256 digest = hash_.digest();
    return to_hex(digest);
  }

 private:
  Result<void> read_back() {
    std::vector<std::uint8_t> buffer(256U << 10);
    for (;;) {
      const ssize_t got = ::read(fd_.get(), buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return fail_file("Cannot read " + path_, errno);
      if (got == 0) return {};
      hash_.add(Bytes(buffer.data(), static_cast<std::size_t>(got)));
      bytes_ += static_cast<std::uint64_t>(got);
    }
  }

  std::string path_;
  OwnedFd fd_;
  Sha256Stream hash_;
  std::uint64_t bytes_ = 0;
};

}  // namespace

struct UpdateClient::State {
  std::string dir;
  std::optional<TufCore> core;

  Result<void> run(WallTime now, const detail::Source& source) {
    core.reset();
    auto stored = detail::read_trust(dir);
    if (!stored) return fail(stored);
    auto done =
        detail::run_workflow(std::move(*stored), now, source,
                             [&](const TufCore::Keep& what) { return detail::keep(dir, what); });
    if (!done) return fail(done);
    core = std::move(*done);
    return {};
  }
};

UpdateClient::UpdateClient(std::string metadata_dir) : state_(std::make_unique<State>()) {
  state_->dir = std::move(metadata_dir);
}
UpdateClient::~UpdateClient() = default;
UpdateClient::UpdateClient(UpdateClient&&) noexcept = default;

Result<void> UpdateClient::init(const std::string& metadata_dir, const std::string& root_bytes) {
  if (const auto made = make_dirs(metadata_dir); !made) return made;
  StoredMetadata given;
  given.root = root_bytes;
  const auto core = TufCore::start(std::move(given), WallTime{});
  if (!core) return fail(core);
  const std::string history = std::to_string(core->root().version) + ".root.json";
  const auto present = detail::read_trust(metadata_dir);
  if (present) {
    // Already trusting: the same root, or a later one of the same chain, stays.
    const auto known = read_file(metadata_dir + "/root_history/" + history, kRootBytesMax);
    if (present->root == root_bytes || (known && *known == root_bytes)) return {};
    return fail("conflict", "This folder trusts another root already",
                "The trusted metadata is unchanged",
                "Remove " + metadata_dir + " to begin to trust the new one");
  }
  if (present.error().code != "no_trust") return fail(present);
  return detail::keep(metadata_dir,
                      {.name = "root.json", .history_name = history, .bytes = root_bytes});
}

Result<void> UpdateClient::refresh(Fetcher& fetcher, const std::string& metadata_url,
                                   WallTime now) {
  return state_->run(now, [&](const TufCore::Want& want) -> Result<std::optional<std::string>> {
    auto bytes = get_all(fetcher, joined(metadata_url, want.name), want.bytes_max);
    if (bytes) return std::optional<std::string>(std::move(*bytes));
    if (bytes.error().code == "not_found") return std::optional<std::string>();
    return fail(bytes);
  });
}

Result<void> UpdateClient::load(WallTime now) {
  return state_->run(now, detail::folder_source(state_->dir));
}

std::vector<AvailableRelease> UpdateClient::releases() const {
  std::vector<AvailableRelease> out;
  if (!state_->core) return out;
  for (const auto& [name, target] : state_->core->targets().files) {
    AvailableRelease release;
    auto manifest = parse_manifest_summary(target.custom, release.digest);
    if (!manifest || target.sha256.empty()) continue;
    release.target_name = name;
    release.bytes = static_cast<std::uint64_t>(target.length);
    release.package_sha256 = target.sha256;
    release.manifest = std::move(*manifest);
    out.push_back(std::move(release));
  }
  std::ranges::sort(out, [](const AvailableRelease& a, const AvailableRelease& b) {
    return a.manifest.version < b.manifest.version;
  });
  return out;
}

Result<std::string> UpdateClient::download(Fetcher& fetcher, const std::string& targets_url,
                                           const std::string& target_name,
                                           const std::string& out_dir, const Progress& progress) {
  if (!state_->core) return fail("missing_metadata", "Refresh the metadata first");
  const auto found = state_->core->targets().files.find(target_name);
  if (found == state_->core->targets().files.end() || found->second.sha256.empty())
    return fail("unknown_target",
                "The signed metadata knows no '" + printable(target_name, 120) + "'");
  const TargetFile& target = found->second;
  const auto length = static_cast<std::uint64_t>(target.length);
  if (length > kPackageBytesMax) return fail("too_large", "The target is larger than allowed");
  if (const auto made = make_dirs(out_dir); !made) return fail(made);

  const std::string path = joined(out_dir, percent_encoded(target_name, ""));
  if (const auto there = open_read(path); there) {
    auto whole = PartFile::open(path, length);
    if (whole && whole->bytes() == length && whole->sha256() == target.sha256) {
      ::unlink((path + ".part").c_str());
      return path;
    }
    ::unlink(path.c_str());
  }
  auto part = PartFile::open(path + ".part", length);
  if (!part) return fail(part);

  const auto slash = target_name.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : target_name.substr(0, slash + 1);
  const std::string file = slash == std::string::npos ? target_name : target_name.substr(slash + 1);
  const std::string named =
      state_->core->root().consistent_snapshot ? folder + target.sha256 + "." + file : target_name;
  if (part->bytes() < length || length == 0) {
    const auto got = fetcher.get(joined(targets_url, percent_encoded(named, "/")), part->bytes(),
                                 length, [&](std::uint64_t offset, Bytes data) -> Result<void> {
                                   if (offset != part->bytes()) {
                                     if (offset != 0)
                                       return fail("http_error", "Bytes out of order");
                                     if (const auto cut = part->restart(); !cut) return cut;
                                   }
                                   if (const auto kept = part->append(data); !kept) return kept;
                                   if (progress) progress(part->bytes(), length);
                                   return {};
                                 });
    if (!got && got.error().code != "too_large") return fail(got);
    if (!got) {
      ::unlink((path + ".part").c_str());
      return fail(got);
    }
  }
  if (const auto synced = part->sync(); !synced) return fail(synced);
  if (part->bytes() < length)
    return fail("truncated", "The download ended early", "The part that is here",
                "Try again: it goes on from there");
  if (part->sha256() != target.sha256) {
    ::unlink((path + ".part").c_str());
    return fail("bad_hash", "The downloaded file is not the one that the signed metadata names",
                "The file was removed", "Try again, or use another update source");
  }
  if (::rename((path + ".part").c_str(), path.c_str()) != 0)
    return fail_file("Cannot finish " + path, errno);
  if (const auto synced = sync_dir(out_dir); !synced) return fail(synced);
  return path;
}

}  // namespace everspan::update
