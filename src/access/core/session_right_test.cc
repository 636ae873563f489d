// V1 of session_right.h.
#include "access/core/session_right.h"

#include <gtest/gtest.h>

namespace everspan::access {
namespace {

Standing good() {
  return {.account = true, .disabled = false, .scopes = {"audit", "sessions"}, .revocation = {}};
}
Standing disabled() {
  Standing out = good();
  out.disabled = true;
  return out;
}
Standing without_scope() {
  Standing out = good();
  out.scopes = {"audit"};
  return out;
}
Standing revoked_at(Standing out, std::uint64_t revision) {
  out.revocation = {{revision}, "the account was disabled"};
  return out;
}

TEST(SessionRight, ASessionGoesOnWhileItsPersonMayHaveIt) {
  EXPECT_EQ(why_void(good(), {7}), std::nullopt);
  EXPECT_EQ(why_void(revoked_at(good(), 6), {7}), std::nullopt);
  EXPECT_EQ(why_void(revoked_at(good(), 7), {7}), std::nullopt) << "not opened before it";
}

TEST(SessionRight, ItEndsWithTheAccountItsBeingEnabledAndTheScope) {
  EXPECT_EQ(why_void({}, {7}), "the account was removed");
  EXPECT_EQ(why_void(disabled(), {7}), "the account was disabled");
  EXPECT_EQ(why_void(without_scope(), {7}), "the right to have sessions was taken away");
}

TEST(SessionRight, WhatComesBackDoesNotBringItBack) {
  EXPECT_EQ(why_void(revoked_at(good(), 8), {7}), "the account was disabled");
  EXPECT_EQ(why_void(revoked_at(disabled(), 6), {7}), "the account was disabled");
}

TEST(SessionRight, EachBeginAndEndOfTheRightIsARevocationAndNothingElse) {
  EXPECT_EQ(why_revoked(good(), disabled()), "the account was disabled");
  EXPECT_EQ(why_revoked(good(), {}), "the account was removed");
  EXPECT_EQ(why_revoked(good(), without_scope()), "the right to have sessions was taken away");
  // What was opened by chance while the right was away ends when it comes back.
  EXPECT_EQ(why_revoked(disabled(), good()), "the account was disabled");
  EXPECT_EQ(why_revoked({}, good()), "the account was removed");
  EXPECT_EQ(why_revoked(without_scope(), good()), "the right to have sessions was taken away");
  EXPECT_EQ(why_revoked(good(), good()), std::nullopt);
  EXPECT_EQ(why_revoked(disabled(), {}), std::nullopt);
  EXPECT_EQ(why_revoked(disabled(), without_scope()), std::nullopt);
}

}  // namespace
}  // namespace everspan::access
