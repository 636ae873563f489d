#include "console/state_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "common/check.h"
#include "common/crypto.h"

namespace everspan::console {

constexpr std::uint64_t kMagic = 0x65766572'636f6e32ULL;  // "evercon2"

struct StateFile::Layout {
  std::uint64_t magic;
  std::atomic<std::uint64_t> turn;  // 0: nothing yet; else half turn % 2 is whole.
  struct Half {
    std::uint64_t size;
    Sha256 digest;
    char bytes[kStateBytesMax];
  } halves[2];
  Marks marks;
  char input[kInputBytes];
};

StateFile::StateFile(std::string path, net::Fd file, void* memory)
    : path_(std::move(path)), file_(std::move(file)), memory_(memory) {}

StateFile::~StateFile() {
  munmap(memory_, sizeof(Layout));
}

StateFile::Layout& StateFile::layout() const {
  return *static_cast<Layout*>(memory_);
}

Result<std::unique_ptr<StateFile>> StateFile::map(const std::string& path, net::Fd file) {
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0)
    return fail("in_use", "Another console uses " + path, "", "End it first");
  void* memory = mmap(nullptr, sizeof(Layout), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) return fail_errno("no_file", "Mapping " + path, errno);
  return std::unique_ptr<StateFile>(new StateFile(path, std::move(file), memory));
}

Result<std::unique_ptr<StateFile>> StateFile::create(const std::string& path) {
  // Blocks are reserved: a full disk is an error here, not a signal at some later store.
  net::Fd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return fail_errno("no_file", "Making " + path, errno);
  if (const int error = posix_fallocate(file.get(), 0, sizeof(Layout)); error != 0)
    return fail_errno("no_file", "Making room for " + path, error);
  auto made = map(path, std::move(file));
  if (!made) return made;
  (*made)->layout().magic = kMagic;
  (*made)->marks().taken = input_begin();
  return made;
}

Result<std::unique_ptr<StateFile>> StateFile::open(const std::string& path) {
  net::Fd file(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return fail_errno("no_file", "Opening " + path, errno);
  struct stat info{};
  if (fstat(file.get(), &info) != 0 || info.st_size != static_cast<off_t>(sizeof(Layout)))
    return fail("bad_state", path + " is not a console's state");
  auto opened = map(path, std::move(file));
  if (opened && (*opened)->layout().magic != kMagic)
    return fail("bad_state", path + " is not a console's state");
  return opened;
}

Result<std::string> StateFile::read() const {
  const Layout& l = layout();
  const std::uint64_t turn = l.turn.load(std::memory_order_acquire);
  const auto& half = l.halves[turn % 2];
  if (turn == 0 || half.size > kStateBytesMax)
    return fail("bad_state", path_ + " holds no state yet");
  std::string state(half.bytes, half.size);
  if (sha256(state) != half.digest) return fail("bad_state", path_ + " is damaged");
  return state;
}

void StateFile::write(const std::string& state) {
  check(state.size() <= kStateBytesMax, "a console's state is bounded");
  Layout& l = layout();
  const std::uint64_t next = l.turn.load(std::memory_order_relaxed) + 1;
  auto& half = l.halves[next % 2];
  half.size = state.size();
  half.digest = sha256(state);
  std::memcpy(half.bytes, state.data(), state.size());
  l.turn.store(next, std::memory_order_release);
}

Marks& StateFile::marks() {
  return layout().marks;
}

const Marks& StateFile::marks() const {
  return layout().marks;
}

std::int64_t StateFile::input_begin() {
  return offsetof(Layout, input);
}

const char* StateFile::input_at(std::int64_t offset) const {
  check(offset >= input_begin(), "input lies behind the states");
  return layout().input + (offset - input_begin());
}

void StateFile::remove() {
  unlink(path_.c_str());
}

}  // namespace everspan::console
