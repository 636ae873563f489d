#include "load/evidence.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <ctime>

namespace load {
namespace {
constexpr std::size_t kBufferBytes = 256 * 1024;

[[noreturn]] void die(const char* what) {
  std::perror(what);
  std::exit(4);
}
}  // namespace

std::int64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

std::string sha256_hex(std::string_view bytes) {
  std::array<unsigned char, 32> digest{};
  unsigned int size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) {
    die("sha256");
  }
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  out.reserve(64);
  for (const unsigned char byte : digest) {
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  return out;
}

Evidence::Evidence(const std::string& path)
    : fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)),
      flushed_ns_(monotonic_ns()) {
  if (fd_ < 0) die(path.c_str());
  buffer_.reserve(kBufferBytes + 1024);
}

void Evidence::bytes(std::string_view session, std::string_view dir, std::uint64_t offset,
                     std::string_view what, std::uint64_t seq, bool raw, std::int64_t t_ns) {
  const std::string hash = sha256_hex(what);
  std::array<char, 400> line{};
  const int size = std::snprintf(
      line.data(), line.size(),
      R"({"session":"%.*s","dir":"%.*s","offset":%)" PRIu64
      R"(,"len":%zu,"sha256":"%s","t_ns":%)" PRId64 R"(,%s%)" PRIu64 "}\n",
      static_cast<int>(session.size()), session.data(), static_cast<int>(dir.size()), dir.data(),
      offset, what.size(), hash.c_str(), t_ns, raw ? R"("raw":)" : R"("seq":)", raw ? 1 : seq);
  buffer_.append(line.data(), static_cast<std::size_t>(size));
  if (buffer_.size() > kBufferBytes) flush();
}

void Evidence::event(std::string_view session, std::string_view name, std::string_view extra) {
  buffer_ += R"({"session":")";
  buffer_ += session;
  buffer_ += R"(","event":")";
  buffer_ += name;
  buffer_ += R"(","t_ns":)" + std::to_string(monotonic_ns());
  if (!extra.empty()) {
    buffer_ += ',';
    buffer_ += extra;
  }
  buffer_ += "}\n";
}

void Evidence::flush() {
  std::string_view rest = buffer_;
  while (!rest.empty()) {
    const ssize_t done = write(fd_, rest.data(), rest.size());
    if (done < 0) die("evidence");  // Evidence that cannot be kept is no evidence.
    rest.remove_prefix(static_cast<std::size_t>(done));
  }
  buffer_.clear();
  flushed_ns_ = monotonic_ns();
}

}  // namespace load
