#include "supervisor/state_file.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/failpoint.h"

namespace everspan::supervisor {
namespace {

State example() {
  State s;
  s.generation = 7;
  s.holder = 3;
  s.next_instance = 4;
  s.slots.push_back({.role = Role::active,
                     .digest = std::string(64, 'a'),
                     .instance = 3,
                     .ready = true,
                     .process = ProcessRecord{
                         .pid = 12, .start_ticks = 99, .boot_id = "b", .token = "\x01\xff"}});
  s.effects.push_back({.key = "plan/\n/1",
                       .kind = EffectKind::switch_over,
                       .outcome = {.pending = true, .message = "m"}});
  s.switch_key = "plan/\n/1";
  s.last_switch = "went back: exit 1";
  s.security_floor = "0.1.0";
  s.watch_silence_ms = 600;
  return s;
}

TEST(StateFile, comes_back_as_it_was) {
  const auto parsed = parse_state(write_state(example()));
  ASSERT_TRUE(parsed) << parsed.error().text();
  EXPECT_EQ(*parsed, example());
}

TEST(StateFile, every_changed_or_missing_byte_is_refused) {
  const auto whole = write_state(example());
  for (std::size_t i = 0; i < whole.size(); ++i) {
    EXPECT_FALSE(parse_state(whole.substr(0, i))) << i;
    auto changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_FALSE(parse_state(changed)) << i;
  }
}

TEST(Failpoint, fails_at_the_nth_pass_only) {
  EXPECT_FALSE(failpoints_enable("x:error"));
  EXPECT_FALSE(failpoints_enable("x:explode:1"));
  EXPECT_FALSE(failpoints_enable("x:error:0"));
  ASSERT_TRUE(failpoints_enable("x:error:2,y:exit:1"));
  EXPECT_FALSE(failpoint("x"));
  EXPECT_TRUE(failpoint("x"));
  EXPECT_FALSE(failpoint("x"));
  EXPECT_EXIT(failpoint("y"), testing::ExitedWithCode(70), "");
}

TEST(Failpoint, that_is_counted_together_strikes_one_process_only) {
  constexpr std::size_t kBytes = 4096;
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  const auto status_of_a_process = [memory] {
    const auto child = fork();
    if (child == 0) {
      const auto armed = failpoints_enable("z:exit:2");
      failpoints_share_hits(static_cast<std::uint64_t*>(memory));
      failpoint("z");
      _exit(armed ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
  };
  EXPECT_EQ(status_of_a_process(), 0);
  EXPECT_EQ(status_of_a_process(), 70);
  EXPECT_EQ(status_of_a_process(), 0);
  munmap(memory, kBytes);
}

}  // namespace
}  // namespace everspan::supervisor
