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

// The kernel carries a terminal's bytes across in a work queue of its own, a piece at a time: what
// was written is all there only when a mark that was written after it is.
std::string read_to_mark(int near, int far) {
  constexpr char kMark = '\x04';
  EXPECT_EQ(write(far, &kMark, 1), 1);
  std::string out;
  for (char byte = 0; read(near, &byte, 1) == 1 && byte != kMark;) out += byte;
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
  [[nodiscard]] std::string heard() const { return read_to_mark(near, far); }
  int near = posix_openpt(O_RDWR | O_NOCTTY);
  int far = -1;
};

TEST(Notices, TheSitesWordsAreShownOnceOnATerminal) {
  Terminal terminal;
  Notices notices(terminal.far);
  notices.site_says("Back at 5\nAnn", false);
  EXPECT_EQ(terminal.heard(), "everspan: [site] Back at 5\neverspan: [site] Ann\n");
  notices.site_says("Back at 5\nAnn", false);
  EXPECT_EQ(terminal.heard(), "") << "a new leg hears it again";
  notices.site_says("", false);
  EXPECT_EQ(terminal.heard(), "");
  notices.site_says("\x1b]0;x\x07\u202e", false);
  EXPECT_EQ(terminal.heard(), "everspan: [site] ?]0;x??\n");
}

TEST(Notices, NothingOfItGoesIntoAFileOrAPipe) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  Notices notices(pipe_ends[1]);
  notices.site_says("Back at 5", false);
  EXPECT_EQ(read_to_mark(pipe_ends[0], pipe_ends[1]), "");
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

}  // namespace
}  // namespace everspan::console
