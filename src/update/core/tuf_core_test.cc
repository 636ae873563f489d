// The attacks that TUF names, one by one, and the workflow's order.
#include "update/core/tuf_core.h"

#include <gtest/gtest.h>

#include "update/core/test_repository.h"

namespace everspan::update {
namespace {

using testing::kDay;
using testing::kNow;
using testing::MemoryClient;
using testing::Repository;
using testing::root_body;
using testing::sign;

class Tuf : public ::testing::Test {
 protected:
  Tuf() { client.stored.root = repo.root(1); }
  std::string code(WallTime now = kNow) {
    const auto done = client.refresh(repo.files, now);
    return done ? "" : done.error().code;
  }
  Repository repo;
  MemoryClient client;
  WallTime later = kNow.after(std::chrono::hours(240));
};

TEST_F(Tuf, AsksForEachNeededFileOnceInOrderAndThenOnlyForTheTimestamp) {
  ASSERT_EQ(code(), "");
  EXPECT_EQ(client.asked, (std::vector<std::string>{"2.root.json", "timestamp.json",
                                                    "1.snapshot.json", "1.targets.json"}));
  ASSERT_EQ(code(), "") << "an equal timestamp version is no error";
  EXPECT_EQ(client.asked, (std::vector<std::string>{"2.root.json", "timestamp.json"}));
  EXPECT_EQ(client.stored.timestamp, repo.files["timestamp.json"]) << "kept byte for byte";
}

TEST_F(Tuf, AcceptsUnknownMembersOfLaterReleases) {
  repo.files["1.targets.json"] =
      sign({{"targets", Json(Json::Object{})},
            {"delegations",
             Json(Json::Object{{"keys", Json(Json::Object{})}, {"roles", Json(Json::Array{})}})},
            {"x-everspan", Json(Json::Array{Json(std::int64_t{1})})}},
           Role::targets, 1, later, {&repo.targets_key});
  repo.publish_snapshot(1, later);
  repo.publish_timestamp(1, 1, later);
  EXPECT_EQ(code(), "");
}

TEST_F(Tuf, RefusesOlderTimestampSnapshotAndTargets) {
  repo.publish(5);
  ASSERT_EQ(code(), "");
  const MemoryClient seen = client;
  repo.publish(4);
  EXPECT_EQ(code(), "rollback") << "an older timestamp";
  repo.publish_timestamp(6, 4, later);
  EXPECT_EQ(code(), "rollback") << "a newer timestamp that names an older snapshot";
  // A newer snapshot that names older targets.
  repo.files["6.snapshot.json"] =
      sign({{"meta",
             Json(Json::Object{{"targets.json", testing::meta(4, repo.files["4.targets.json"])}})}},
           Role::snapshot, 6, later, {&repo.snapshot_key});
  repo.publish_timestamp(7, 6, later);
  EXPECT_EQ(code(), "rollback");
  // What was seen is still there, and the client can go on when the repository is right again.
  EXPECT_EQ(client.stored.targets, seen.stored.targets);
  repo.publish(8);
  EXPECT_EQ(code(), "");
}

TEST_F(Tuf, RefusesASnapshotFromWhichATargetsFileDisappeared) {
  ASSERT_EQ(code(), "");
  repo.files["2.snapshot.json"] =
      sign({{"meta", Json(Json::Object{{"other.json", testing::meta(1, "x")}})}}, Role::snapshot, 2,
           later, {&repo.snapshot_key});
  repo.publish_timestamp(2, 2, later);
  EXPECT_EQ(code(), "rollback");
}

TEST_F(Tuf, RefusesEachExpiredRole) {
  const auto expired_at = [&](auto change) {
    repo = Repository();
    client = MemoryClient();
    client.stored.root = repo.root(1);
    change();
    return code();
  };
  const WallTime past{kNow.unix_ms - kDay};
  EXPECT_EQ(expired_at([&] { repo.publish_timestamp(1, 1, past); }), "expired");
  EXPECT_EQ(expired_at([&] {
              repo.publish_snapshot(1, past);
              repo.publish_timestamp(1, 1, later);
            }),
            "expired");
  EXPECT_EQ(expired_at([&] { repo.publish(1, {}, -kDay); }), "expired");
  EXPECT_EQ(expired_at([&] { client.stored.root = repo.root(1, past); }), "expired") << "last root";
  EXPECT_EQ(expired_at([&] { repo.publish(1, {}, 0); }), "expired") << "the very moment";
}

TEST_F(Tuf, AFrozenRepositoryIsFoundWhenItsTimestampExpires) {
  ASSERT_EQ(code(), "");
  EXPECT_EQ(code(kNow.after(std::chrono::hours(24 * 11))), "expired");
}

TEST_F(Tuf, RefusesFilesThatDoNotBelongTogether) {
  repo.publish(2);
  repo.files["2.targets.json"] =
      sign({{"targets", Json(Json::Object{})}, {"x", Json(std::int64_t{1})}}, Role::targets, 2,
           later, {&repo.targets_key});  // Signed all right, but not what the snapshot names.
  EXPECT_TRUE(code() == "bad_hash" || code() == "too_large") << code();
}

TEST_F(Tuf, RefusesAStrangeKeyAndATamperedSignature) {
  const SigningKey thief = SigningKey::generate();
  repo.files["timestamp.json"] =
      sign({{"meta", Json(Json::Object{})}}, Role::timestamp, 2, later, {&thief});
  EXPECT_EQ(code(), "unknown_key");
  repo.publish(2);
  std::string& timestamp = repo.files["timestamp.json"];
  const auto version = timestamp.find("\"version\":2}");
  ASSERT_NE(version, std::string::npos);
  timestamp[version + 10] = '3';
  EXPECT_EQ(code(), "bad_signature");
}

TEST_F(Tuf, RefusesAnotherRolesKey) {
  const std::string honest = repo.files["timestamp.json"];
  repo.files["timestamp.json"] =
      sign({{"meta", Json(Json::Object{})}}, Role::timestamp, 2, later, {&repo.targets_key});
  EXPECT_EQ(code(), "unknown_key");
}

TEST_F(Tuf, CountsKeysNotKeyIdsTowardsAThreshold) {
  const SigningKey other = SigningKey::generate();
  auto roles = repo.roles();
  roles[Role::targets] = {{&repo.targets_key, &other}, 2};
  client.stored.root = sign(root_body(roles), Role::root, 1, later, {&repo.root_key});
  EXPECT_EQ(code(), "bad_signature") << "one of two";

  // The same key under a second id does not make two signers.
  Json::Object body = root_body(roles);
  Json::Object keys = *body.at("keys").object();
  keys.insert_or_assign(key_id(other.public_key()), key_json(repo.targets_key.public_key()));
  body.insert_or_assign("keys", Json(keys));
  client.stored = {};
  client.stored.root = sign(body, Role::root, 1, later, {&repo.root_key});
  std::string doubled = repo.files["1.targets.json"];
  const std::string own = key_id(repo.targets_key.public_key());
  const auto begin = doubled.find("{\"keyid\":\"" + own);
  const auto end = doubled.find('}', begin);
  std::string copy = doubled.substr(begin, end - begin + 1);
  copy.replace(copy.find(own), own.size(), key_id(other.public_key()));
  doubled.insert(end + 1, "," + copy);
  repo.files["1.targets.json"] = doubled;
  repo.publish_snapshot(1, later);
  repo.publish_timestamp(1, 1, later);
  EXPECT_EQ(code(), "bad_signature");
}

TEST_F(Tuf, RefusesEndlessData) {
  repo.files["timestamp.json"] = std::string(100000, ' ');
  EXPECT_EQ(code(), "too_large");
  repo.publish(2);
  repo.files["2.snapshot.json"] += std::string(100, ' ');
  EXPECT_EQ(code(), "too_large");
  repo.files["2.root.json"] = std::string(1 << 20, 'x');
  EXPECT_EQ(code(), "too_large");
}

TEST_F(Tuf, WalksAChainOfRootsEachSignedByOldAndNewKeys) {
  std::vector<SigningKey> keys;
  for (int i = 0; i < 5; ++i) keys.push_back(SigningKey::generate());
  const auto with_root = [&](const SigningKey* key) {
    auto roles = repo.roles();
    roles[Role::root] = {{key}, 1};
    return root_body(roles);
  };
  const WallTime past{kNow.unix_ms - kDay};
  client.stored.root = sign(with_root(&keys[0]), Role::root, 1, past, {&keys[0]});
  for (std::int64_t version = 2; version <= 5; ++version) {
    const auto* before = &keys[static_cast<std::size_t>(version - 2)];
    const auto* own = &keys[static_cast<std::size_t>(version - 1)];
    const WallTime expires = version == 5 ? later : past;  // Intermediate ones may be expired.
    repo.files[std::to_string(version) + ".root.json"] =
        sign(with_root(own), Role::root, version, expires, {before, own});
  }
  ASSERT_EQ(code(), "");
  EXPECT_EQ(client.stored.root, repo.files["5.root.json"]);

  const std::string fifth = repo.files["5.root.json"];
  const auto again = [&](const std::string& root) {
    client.stored.root = repo.files["4.root.json"];
    repo.files["5.root.json"] = root;
    return code();
  };
  EXPECT_EQ(again(sign(with_root(&keys[4]), Role::root, 5, later, {&keys[4]})), "unknown_key")
      << "not by the old key";
  EXPECT_EQ(again(sign(with_root(&keys[4]), Role::root, 5, later, {&keys[3]})), "unknown_key")
      << "not by its own key";
  EXPECT_EQ(again(sign(with_root(&keys[4]), Role::root, 6, later, {&keys[3], &keys[4]})),
            "rollback")
      << "a version is skipped";
  EXPECT_EQ(again(sign(with_root(&keys[4]), Role::root, 4, later, {&keys[3], &keys[4]})),
            "rollback");
  EXPECT_EQ(again(fifth), "");
}

TEST_F(Tuf, RecoversFromAFastForwardWhenTheKeysAreReplaced) {
  // A thief of the online keys signed versions as high as they go.
  repo.publish(1000000);
  ASSERT_EQ(code(), "");
  Repository next;
  auto roles = next.roles();
  roles[Role::root] = {{&repo.root_key}, 1};
  roles[Role::targets] = {{&next.targets_key}, 1};
  next.files["2.root.json"] = sign(root_body(roles), Role::root, 2, later, {&repo.root_key});
  const auto done = client.refresh(next.files);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(client.stored.timestamp, next.files["timestamp.json"]);
}

TEST_F(Tuf, DropsStoredOnesEvenWhenTheOldKeyStaysInTheRole) {
  repo.publish(1000);
  ASSERT_EQ(code(), "");
  const SigningKey added = SigningKey::generate();
  auto roles = repo.roles();
  roles[Role::timestamp] = {{&repo.timestamp_key, &added}, 1};
  repo.files.clear();
  repo.publish(3);
  repo.files["2.root.json"] = sign(root_body(roles), Role::root, 2, later, {&repo.root_key});
  EXPECT_EQ(code(), "");
}

TEST_F(Tuf, SaysWhichFileIsMissing) {
  repo.files.erase("1.snapshot.json");
  EXPECT_EQ(code(), "missing_metadata");
}

TEST_F(Tuf, WithoutAUsableRootNothingIsTrusted) {
  client.stored.root = "";
  EXPECT_EQ(code(), "no_trust");
  client.stored.root = sign(root_body(repo.roles()), Role::root, 1, later, {&repo.targets_key});
  EXPECT_EQ(code(), "no_trust");
}

TEST_F(Tuf, ReadsPlainNamesWhereSnapshotsAreNotConsistent) {
  Json::Object body = root_body(repo.roles());
  body.insert_or_assign("consistent_snapshot", Json(false));
  client.stored.root = sign(body, Role::root, 1, later, {&repo.root_key});
  repo.files["snapshot.json"] = repo.files["1.snapshot.json"];
  repo.files["targets.json"] = repo.files["1.targets.json"];
  repo.files.erase("1.snapshot.json");
  EXPECT_EQ(code(), "");
}

TEST(Utc, ReadsOnlyTheFormOfTheSpecification) {
  EXPECT_EQ(parse_utc("2026-11-23T02:10:51Z")->unix_ms, 1795399851000);
  EXPECT_EQ(write_utc(WallTime{1795399851999}), "2026-11-23T02:10:51Z");
  for (const char* bad : {"2026-11-23T02:10:51", "2026-13-23T02:10:51Z", "2026-02-30T00:00:00Z",
                          "2026-11-23 02:10:51Z", "2026-11-23T02:10:51.1Z", "2026-11-23T25:10:51Z"})
    EXPECT_FALSE(parse_utc(bad)) << bad;
}

}  // namespace
}  // namespace everspan::update
