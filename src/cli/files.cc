#include "cli/files.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>

#include "common/crypto.h"
#include "net/fd.h"

namespace everspan::cli {
namespace {

constexpr std::size_t kSecretBytesMax = 4096;

}  // namespace

Result<std::string> read_file(const std::string& path, std::size_t bytes_max) {
  const bool standard_input = path == "-";
  const net::Fd file(standard_input ? fcntl(0, F_DUPFD_CLOEXEC, 3)
                                    : open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_errno("io", "Opening " + path, errno);
  std::string out;
  char buffer[8192];
  for (;;) {
    const ssize_t got = read(file.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno("io", "Reading " + path, errno);
    if (got == 0) return out;
    out.append(buffer, static_cast<std::size_t>(got));
    if (out.size() > bytes_max) return fail("too_large", path + " is too long");
  }
}

Result<std::string> read_secret_file(const std::string& path) {
  auto text = read_file(path, kSecretBytesMax);
  if (!text) return text;
  if (text->ends_with('\n')) text->pop_back();
  if (text->ends_with('\r')) text->pop_back();
  if (text->empty()) return fail("io", path + " is empty");
  return text;
}

Result<void> write_secret_file(const std::string& path, const std::string& text) {
  const std::string draft = path + "." + to_hex(as_bytes(random_bytes(6))) + ".new";
  const net::Fd file(open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return fail_errno("io", "Writing " + draft, errno);
  std::size_t done = 0;
  int failure = 0;
  while (done < text.size() && failure == 0) {
    const ssize_t wrote = write(file.get(), text.data() + done, text.size() - done);
    if (wrote >= 0) done += static_cast<std::size_t>(wrote);
    if (wrote < 0 && errno != EINTR) failure = errno;
  }
  if (failure == 0 && fsync(file.get()) != 0) failure = errno;
  if (failure == 0 && rename(draft.c_str(), path.c_str()) != 0) failure = errno;
  if (failure == 0) return {};
  unlink(draft.c_str());
  return fail_errno("io", "Writing " + path, failure);
}

}  // namespace everspan::cli
