#include "access/core/throttle.h"

#include <gtest/gtest.h>

namespace everspan::access {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

constexpr Instant kStart{Duration(1'000'000)};

LoginThrottle::Rules small() {
  LoginThrottle::Rules rules;
  rules.account = {.free_attempts = 3, .delay_max = seconds(60), .entries_max = 5};
  rules.address = {.free_attempts = 6, .delay_max = minutes(15), .entries_max = 5};
  rules.known_max = 3;
  return rules;
}

// One attempt that ends at once; false: it was refused.
bool attempt(LoginThrottle& throttle, const char* account, const char* address, bool success,
             Instant now) {
  if (throttle.begin(account, address, now)) return false;
  throttle.ended(account, address, success, now);
  return true;
}

TEST(LoginThrottle, WaitDoublesAfterTheFreeAttemptsUpToItsLimit) {
  ThrottleTable table({.free_attempts = 3, .delay_max = seconds(60)});
  Instant now = kStart;
  std::vector<Duration> waits;
  for (int i = 0; i < 12; ++i) {
    ASSERT_EQ(table.wait("alice", now), std::nullopt);
    table.began("alice", now);
    table.ended("alice", false, now);
    const Duration wait = table.wait("alice", now).value_or(Duration::zero());
    waits.push_back(wait);
    now += wait;
  }
  EXPECT_EQ(waits[0], Duration::zero());
  EXPECT_EQ(waits[1], Duration::zero());
  EXPECT_EQ(waits[2], seconds(1));
  EXPECT_EQ(waits[3], seconds(2));
  EXPECT_EQ(waits[7], seconds(32));
  EXPECT_EQ(waits[8], seconds(60));
  EXPECT_EQ(waits[11], seconds(60));
}

TEST(LoginThrottle, GuessesSentAtOnceGainNothing) {
  LoginThrottle throttle(small());
  int begun = 0;
  for (int i = 0; i < 100; ++i)
    if (!throttle.begin("site/alice", "192.0.2.1", kStart)) ++begun;
  EXPECT_EQ(begun, 3);
}

TEST(LoginThrottle, ARefusedAttemptDoesNotLengthenTheWait) {
  LoginThrottle throttle(small());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(attempt(throttle, "a", "192.0.2.1", false, kStart));
  const auto wait = throttle.begin("a", "192.0.2.1", kStart);
  ASSERT_TRUE(wait);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(throttle.begin("a", "192.0.2.1", kStart), wait);
  EXPECT_EQ(throttle.begin("a", "192.0.2.1", kStart + *wait), std::nullopt);
}

TEST(LoginThrottle, OneAddressIsStoppedOverManyAccounts) {
  LoginThrottle throttle(small());
  const char* const accounts[] = {"a", "b", "c", "d", "e", "f"};
  for (const char* account : accounts)
    EXPECT_TRUE(attempt(throttle, account, "192.0.2.1", false, kStart));
  EXPECT_FALSE(attempt(throttle, "g", "192.0.2.1", false, kStart));
  EXPECT_TRUE(attempt(throttle, "g", "192.0.2.2", false, kStart));
}

TEST(LoginThrottle, OneAccountIsProtectedFromManyAddresses) {
  LoginThrottle throttle(small());
  EXPECT_TRUE(attempt(throttle, "a", "192.0.2.1", false, kStart));
  EXPECT_TRUE(attempt(throttle, "a", "192.0.2.2", false, kStart));
  EXPECT_TRUE(attempt(throttle, "a", "192.0.2.3", false, kStart));
  EXPECT_FALSE(attempt(throttle, "a", "192.0.2.4", false, kStart));
}

TEST(LoginThrottle, APersonAtHisUsualAddressIsNotLockedOutByOthers) {
  LoginThrottle throttle(small());
  ASSERT_TRUE(attempt(throttle, "a", "198.51.100.7", true, kStart));
  for (const char* address : {"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"})
    attempt(throttle, "a", address, false, kStart);
  EXPECT_FALSE(attempt(throttle, "a", "192.0.2.5", true, kStart));
  EXPECT_TRUE(attempt(throttle, "a", "198.51.100.7", true, kStart));
}

TEST(LoginThrottle, SuccessClearsAndTimeForgets) {
  LoginThrottle throttle(small());
  for (int round = 0; round < 5; ++round) {
    ASSERT_TRUE(attempt(throttle, "a", "192.0.2.1", false, kStart));
    ASSERT_TRUE(attempt(throttle, "a", "192.0.2.1", true, kStart));
  }
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(attempt(throttle, "b", "192.0.2.9", false, kStart));
  EXPECT_FALSE(attempt(throttle, "b", "192.0.2.9", false, kStart));
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(attempt(throttle, "b", "192.0.2.9", false, kStart + minutes(61)));
}

TEST(LoginThrottle, MemoryIsBounded) {
  LoginThrottle throttle(small());
  for (int i = 0; i < 1000; ++i) {
    const std::string address = "10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250);
    const std::string account = "account" + std::to_string(i);
    attempt(throttle, account.c_str(), address.c_str(), i % 2 == 0, kStart);
    ASSERT_LE(throttle.size(), 10U);
  }
}

TEST(LoginThrottle, AnIpv6NetworkCountsAsOneAddress) {
  EXPECT_EQ(throttle_address("2001:db8:1:2::1"), throttle_address("2001:db8:1:2:ffff::9"));
  EXPECT_NE(throttle_address("2001:db8:1:2::1"), throttle_address("2001:db8:1:3::1"));
  EXPECT_EQ(throttle_address("::ffff:192.0.2.1"), "192.0.2.1");
  EXPECT_EQ(throttle_address("192.0.2.1"), "192.0.2.1");
}

}  // namespace
}  // namespace everspan::access
