// What the site says is shown on a terminal only, once, and steers nothing.
#include "console/notices.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <string>

namespace everspan::console {
namespace {

std::string read_now(int fd) {
  std::string out(4096, '\0');
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  const ssize_t got = read(fd, out.data(), out.size());
  out.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return out;
}

struct Terminal {
  Terminal() {
    const bool ready = near >= 0 && grantpt(near) == 0 && unlockpt(near) == 0;
    EXPECT_TRUE(ready);
    far = open(ptsname(near), O_RDWR | O_NOCTTY);
    termios how{};
    EXPECT_EQ(tcgetattr(far, &how), 0);
    cfmakeraw(&how);
    EXPECT_EQ(tcsetattr(far, TCSANOW, &how), 0);
  }
  ~Terminal() {
    close(far);
    close(near);
  }
  int near = posix_openpt(O_RDWR | O_NOCTTY);
  int far = -1;
};

TEST(Notices, TheSitesWordsAreShownOnceOnATerminal) {
  Terminal terminal;
  Notices notices(terminal.far);
  notices.site_says("Back at 5\nAnn", false);
  EXPECT_EQ(read_now(terminal.near), "everspan: [site] Back at 5\neverspan: [site] Ann\n");
  notices.site_says("Back at 5\nAnn", false);
  EXPECT_EQ(read_now(terminal.near), "") << "a new leg hears it again";
  notices.site_says("", false);
  EXPECT_EQ(read_now(terminal.near), "");
  notices.site_says("\x1b]0;x\x07\u202e", false);
  EXPECT_EQ(read_now(terminal.near), "everspan: [site] ?]0;x??\n");
}

TEST(Notices, NothingOfItGoesIntoAFileOrAPipe) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  Notices notices(pipe_ends[1]);
  notices.site_says("Back at 5", false);
  close(pipe_ends[1]);
  EXPECT_EQ(read_now(pipe_ends[0]), "");
  close(pipe_ends[0]);
}

}  // namespace
}  // namespace everspan::console
