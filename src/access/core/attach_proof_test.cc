#include "access/core/attach_proof.h"

#include <gtest/gtest.h>

namespace everspan::access {
namespace {

struct AttachProof : testing::Test {
  SigningKey key = SigningKey::generate();
  std::string exporter = random_bytes(32);
  AttachClaim claim{random_id<SessionId>(), AttachSide::console, 3};
  std::string proof = prove_attach(key, exporter, claim).value();

  bool holds(std::string_view on_exporter, const AttachClaim& for_claim) {
    return verify_attach(key.public_key(), on_exporter, for_claim, proof).has_value();
  }
};

TEST_F(AttachProof, HoldsOnItsOwnConnection) {
  EXPECT_TRUE(holds(exporter, claim));
}

TEST_F(AttachProof, ReplayedOnAnotherConnectionIsRefused) {
  EXPECT_FALSE(holds(random_bytes(32), claim));
}

TEST_F(AttachProof, HoldsForNoOtherSessionSideOrGeneration) {
  EXPECT_FALSE(holds(exporter, {random_id<SessionId>(), claim.side, 3}));
  EXPECT_FALSE(holds(exporter, {claim.session, AttachSide::agent, 3}));
  EXPECT_FALSE(holds(exporter, {claim.session, claim.side, 4}));
}

TEST_F(AttachProof, AnotherKeysProofIsRefused) {
  const SigningKey stranger = SigningKey::generate();
  EXPECT_FALSE(verify_attach(stranger.public_key(), exporter, claim, proof));
  EXPECT_FALSE(verify_attach("", exporter, claim, proof));
  EXPECT_FALSE(verify_attach(key.public_key(), exporter, claim, ""));
}

TEST_F(AttachProof, AConnectionWithoutTlsCannotProve) {
  EXPECT_FALSE(prove_attach(key, "", claim));
  EXPECT_FALSE(holds("", claim));
}

TEST_F(AttachProof, RegisterHoldsForItsEndpointAndConnectionOnly) {
  const auto endpoint = random_id<EndpointId>();
  const std::string shown = prove_register(key, exporter, endpoint).value();
  EXPECT_TRUE(verify_register(key.public_key(), exporter, endpoint, shown));
  EXPECT_FALSE(verify_register(key.public_key(), random_bytes(32), endpoint, shown));
  EXPECT_FALSE(verify_register(key.public_key(), exporter, random_id<EndpointId>(), shown));
  EXPECT_FALSE(verify_register(SigningKey::generate().public_key(), exporter, endpoint, shown));
}

}  // namespace
}  // namespace everspan::access
