// Killed at any moment, a console knows exactly what it took and what it gave.
#include "console/counted_io.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <functional>
#include <random>

namespace everspan::console {
namespace {

constexpr int kKills = 60;
constexpr int kKillsOfFiles = 15;  // A file never makes its writer wait: more comes in between.

// What is written and read: a byte says its offset.
char byte_at(std::size_t offset) {
  return static_cast<char>('a' + (offset * 7 + offset / 251) % 26);
}

std::string bytes_at(std::size_t offset, std::size_t size) {
  std::string out(size, '\0');
  for (std::size_t i = 0; i < size; ++i) out[i] = byte_at(offset + i);
  return out;
}

struct Pipe {
  Pipe() {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    out = net::Fd(ends[0]);
    in = net::Fd(ends[1]);
  }
  net::Fd out;
  net::Fd in;
};

class CountedIo : public testing::Test {
 protected:
  CountedIo() {
    std::string name = (std::filesystem::temp_directory_path() / "everspan-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~CountedIo() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<StateFile> new_state() {
    const std::string path = folder_ + "/state";
    std::filesystem::remove(path);
    auto made = StateFile::create(path);
    EXPECT_TRUE(made) << made.error().text();
    return std::move(*made);
  }
  std::unique_ptr<StateFile> state_again() {
    auto opened = StateFile::open(folder_ + "/state");
    EXPECT_TRUE(opened) << opened.error().text();
    return std::move(*opened);
  }

  // A child does `work` until it is killed, which is when `goes_on` says false.
  static void killed(const std::function<void()>& work, const std::function<bool()>& goes_on) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      work();
      _exit(1);
    }
    int status = 0;
    while (goes_on()) ASSERT_EQ(waitpid(child, &status, WNOHANG), 0) << "it ended: " << status;
    ASSERT_EQ(kill(child, SIGKILL), 0);
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself with " << status;
  }

  // A console that writes into `to` and is killed again and again; `from` is read as it comes.
  void write_and_be_killed(int to, int from, std::size_t size_max, int kills_max = kKills);

  std::string folder_;
  std::minstd_rand random_{testing::UnitTest::GetInstance()->random_seed() + 1U};
};

void CountedIo::write_and_be_killed(int to, int from, std::size_t size_max, int kills_max) {
  std::string seen;
  std::array<char, 4096> buffer{};
  const auto read_some = [&](bool wait) {
    pollfd ready{.fd = from, .events = POLLIN, .revents = 0};
    if (poll(&ready, 1, wait ? 1000 : 0) <= 0) return false;
    const ssize_t got = read(from, buffer.data(), buffer.size());
    if (got > 0) seen.append(buffer.data(), static_cast<std::size_t>(got));
    return got > 0;
  };
  {
    new_state();
  }
  for (int kills = 0; kills < kills_max; ++kills) {
    const std::size_t stop = seen.size() + random_() % 40'000;
    killed(
        [&] {
          auto state = StateFile::open(folder_ + "/state");
          if (!state) _exit(2);
          CountedOutput output((*state)->marks().main);
          for (unsigned i = 1;; ++i) {
            const auto at = static_cast<std::size_t>((*state)->marks().main.given);
            const auto size = 1 + (i * 2654435761U) % size_max;
            if (output.write(to, bytes_at(at, size)) < 0 && errno != EAGAIN) _exit(3);
          }
        },
        [&] {
          read_some(true);
          return seen.size() < stop;
        });
    while (read_some(false)) {
    }
    auto state = state_again();
    ASSERT_EQ(settle(state->marks().main, to, 0), static_cast<std::int64_t>(seen.size()));
  }
  EXPECT_GT(seen.size(), 100'000U);
  EXPECT_TRUE(seen == bytes_at(0, seen.size())) << "bytes were changed on their way";
}

TEST_F(CountedIo, AKilledWriterOfAPipeGaveWhatItsMarkSays) {
  Pipe pipe;
  write_and_be_killed(pipe.in.get(), pipe.out.get(), 4096);
}

TEST_F(CountedIo, AKilledWriterOfATerminalGaveWhatItsMarkSays) {
  const net::Fd near(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_EQ(grantpt(near.get()), 0);
  ASSERT_EQ(unlockpt(near.get()), 0);
  const net::Fd far(open(ptsname(near.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
  termios how{};
  ASSERT_EQ(tcgetattr(far.get(), &how), 0);
  cfmakeraw(&how);
  ASSERT_EQ(tcsetattr(far.get(), TCSANOW, &how), 0);
  write_and_be_killed(far.get(), near.get(), 500);
}

TEST_F(CountedIo, AKilledWriterOfAFileGaveWhatItsMarkSays) {
  const std::string path = folder_ + "/output";
  const net::Fd in(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  const net::Fd out(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  write_and_be_killed(in.get(), out.get(), 4096, kKillsOfFiles);
}

TEST_F(CountedIo, AKilledWriterThatAppendsIsSettledByTheFilesSize) {
  const std::string path = folder_ + "/output";
  const net::Fd in(open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
  const net::Fd out(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  write_and_be_killed(in.get(), out.get(), 4096, kKillsOfFiles);
}

TEST_F(CountedIo, APieceThatWaitsInAPipeIsNotChangedByTheNextOnes) {
  auto state = new_state();
  CountedOutput output(state->marks().main);
  Pipe pipe;
  std::size_t given = 0;
  while (given < 4 * CountedOutput::kPagesBytes) {
    const std::size_t before = given;
    for (int i = 0; i < 7; ++i) {  // A pipe takes 16 pages, and two of them hold a piece.
      ASSERT_EQ(output.write(pipe.in.get(), bytes_at(given, 3000)), 3000);
      given += 3000;
    }
    std::string got;
    std::array<char, 4096> buffer{};
    while (got.size() < given - before) {
      const ssize_t size = read(pipe.out.get(), buffer.data(), buffer.size());
      ASSERT_GT(size, 0);
      got.append(buffer.data(), static_cast<std::size_t>(size));
    }
    ASSERT_TRUE(got == bytes_at(before, given - before)) << "behind " << before;
  }
  EXPECT_EQ(state->marks().main.given, static_cast<std::int64_t>(given));
}

TEST_F(CountedIo, AReaderThatLeftIsToldAsByWrite) {
  signal(SIGPIPE, SIG_IGN);
  auto state = new_state();
  CountedOutput output(state->marks().main);
  Pipe pipe;
  pipe.out.reset();
  EXPECT_EQ(output.write(pipe.in.get(), "x"), -1);
  EXPECT_EQ(errno, EPIPE);
  EXPECT_EQ(state->marks().main.given, 0);
}

// The session's part in the tests of the input: what it took, with the position that goes with it.
struct Taken {
  std::string bytes;
  InputPosition position;
};

// A reader that keeps what it took in the state, as a console does, and is killed again and again.
TEST_F(CountedIo, AKilledReaderOfAPipeLosesNothing) {
  Pipe pipe;
  // A state: the position, then all bytes so far.
  const auto encode = [](const Taken& taken) {
    return std::string(reinterpret_cast<const char*>(&taken.position), sizeof taken.position) +
           taken.bytes;
  };
  const auto decode = [](const std::string& state) {
    Taken taken;
    std::memcpy(&taken.position, state.data(), sizeof taken.position);
    taken.bytes = state.substr(sizeof taken.position);
    return taken;
  };
  {
    auto state = new_state();
    state->write(encode(
        {.bytes = {}, .position = {.taken = static_cast<std::uint64_t>(state->marks().taken)}}));
  }
  std::size_t fed = 0;
  for (int kills = 0; kills < kKills; ++kills) {
    const std::size_t stop = fed + random_() % 20'000;
    killed(
        [&] {
          auto state = StateFile::open(folder_ + "/state");
          if (!state) _exit(2);
          Taken taken = decode((*state)->read().value_or(""));
          auto rest = taken_since(**state, taken.position);
          if (!rest) _exit(4);
          taken.bytes += *rest;
          CountedInput input(**state, pipe.out.get(), taken.position);
          std::array<char, 4096> buffer{};
          for (;;) {
            taken.position = input.position();
            (*state)->write(encode(taken));
            input.noted(buffer.size());
            const ssize_t got = input.read(pipe.out.get(), buffer.data(), buffer.size());
            if (got > 0) taken.bytes.append(buffer.data(), static_cast<std::size_t>(got));
            if (got == 0 || (got < 0 && errno != EAGAIN)) _exit(3);
          }
        },
        [&] {
          const std::size_t size = 1 + random_() % 3000;
          EXPECT_EQ(write(pipe.in.get(), bytes_at(fed, size).data(), size),
                    static_cast<ssize_t>(size));
          fed += size;
          return fed < stop;
        });
  }
  auto state = state_again();
  Taken taken = decode(state->read().value());
  taken.bytes += taken_since(*state, taken.position).value();
  std::array<char, 65536> buffer{};
  ASSERT_EQ(fcntl(pipe.out.get(), F_SETFL, O_NONBLOCK), 0);
  for (ssize_t got = 0; (got = read(pipe.out.get(), buffer.data(), buffer.size())) > 0;)
    taken.bytes.append(buffer.data(), static_cast<std::size_t>(got));
  EXPECT_EQ(taken.bytes.size(), fed);
  EXPECT_TRUE(taken.bytes == bytes_at(0, fed));
}

TEST_F(CountedIo, OnePieceAtATimeIsNotInTheState) {
  auto state = new_state();
  Pipe pipe;
  ASSERT_EQ(write(pipe.in.get(), "abcdef", 6), 6);
  CountedInput input(*state, pipe.out.get(), {});
  std::array<char, 3> buffer{};
  EXPECT_EQ(input.read(pipe.out.get(), buffer.data(), 3), -1) << "there is no state yet";
  EXPECT_EQ(errno, EAGAIN);
  input.noted(2);
  const InputPosition before = input.position();
  EXPECT_EQ(input.read(pipe.out.get(), buffer.data(), 3), 2) << "no more than there is room for";
  EXPECT_EQ(input.read(pipe.out.get(), buffer.data(), 3), -1);
  EXPECT_EQ(taken_since(*state, before).value(), "ab");
  EXPECT_EQ(taken_since(*state, input.position()).value(), "");
  input.noted(100);
  EXPECT_EQ(input.read(pipe.out.get(), buffer.data(), 3), 3);
  EXPECT_FALSE(taken_since(*state, {.taken = 1}));
}

TEST_F(CountedIo, InputOfAFileGoesOnWhereTheStateIs) {
  const std::string path = folder_ + "/input";
  const net::Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(write(file.get(), "abcdef", 6), 6);
  ASSERT_EQ(lseek(file.get(), 1, SEEK_SET), 1);
  auto state = new_state();
  CountedInput input(*state, file.get(), {});
  std::array<char, 8> buffer{};
  input.noted(2);
  EXPECT_EQ(input.read(file.get(), buffer.data(), 8), 2);
  const InputPosition noted = input.position();
  input.noted(2);
  EXPECT_EQ(input.read(file.get(), buffer.data(), 8), 2);  // Killed before this was noted.
  EXPECT_EQ(lseek(file.get(), 0, SEEK_CUR), 5) << "others go on behind what we took";
  CountedInput again(*state, file.get(), noted);
  again.noted(8);
  EXPECT_EQ(again.read(file.get(), buffer.data(), 8), 3);
  EXPECT_EQ(std::string(buffer.data(), 3), "def");
  CountedInput other(*state, file.get(), {.taken = 0, .device = 1, .inode = 2, .offset = 2});
  other.noted(8);
  EXPECT_EQ(other.read(file.get(), buffer.data(), 8), 0) << "another file's offset is not used";
}

}  // namespace
}  // namespace everspan::console
