#include "failover/core/role_record.h"

#include <gtest/gtest.h>

#include "common/bytes.h"
#include "common/crypto.h"

namespace everspan::failover {
namespace {

template <class IdType>
IdType id(std::uint8_t fill) {
  IdType out;
  out.bytes.fill(fill);
  return out;
}

RoleRecord record(bool prepared) {
  RoleRecord out;
  out.reg = {id<LineageId>(1), Epoch{7}, id<NodeId>(2), {id<NodeId>(2), id<NodeId>(3)}, false};
  out.peer = id<NodeId>(3);
  if (prepared) {
    out.prepared = Prepared{Epoch{8}, {Revision{99}, {}}};
    out.prepared->head.hash.fill(4);
    out.yields = true;
  } else {
    out.reg.rests = true;
  }
  return out;
}

std::string sealed(std::string body) {
  const Sha256 digest = sha256(body);
  return body + to_string(Bytes(digest));
}
std::string body_of(const std::string& bytes) {
  return bytes.substr(0, bytes.size() - 32);
}

TEST(RoleRecord, reads_what_it_wrote) {
  for (const bool prepared : {false, true}) {
    const auto read = decode_role_record(encode_role_record(record(prepared)));
    ASSERT_TRUE(read) << read.error().text();
    EXPECT_EQ(*read, record(prepared));
  }
}

// Frozen: every release reads these bytes.
TEST(RoleRecord, golden_bytes) {
  const std::string plain =
      "4556524701"
      "01010101010101010101010101010101"
      "0000000000000007"
      "02020202020202020202020202020202"
      "02"
      "02"
      "02020202020202020202020202020202"
      "03030303030303030303030303030303"
      "03030303030303030303030303030303"
      "0000";
  EXPECT_EQ(to_hex(as_bytes(body_of(encode_role_record(record(false))))), plain);
  const std::string prepared =
      "4556524701"
      "01010101010101010101010101010101"
      "0000000000000007"
      "02020202020202020202020202020202"
      "05"
      "02"
      "02020202020202020202020202020202"
      "03030303030303030303030303030303"
      "03030303030303030303030303030303"
      "0000000000000008"
      "0000000000000063"
      "0404040404040404040404040404040404040404040404040404040404040404"
      "0000";
  const std::string bytes = encode_role_record(record(true));
  EXPECT_EQ(to_hex(as_bytes(body_of(bytes))), prepared);
  EXPECT_EQ(sealed(body_of(bytes)), bytes);
}

TEST(RoleRecord, every_changed_or_missing_byte_is_found) {
  const std::string good = encode_role_record(record(true));
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    EXPECT_FALSE(decode_role_record(bad)) << i;
    EXPECT_FALSE(decode_role_record(std::string_view(good).substr(0, i))) << i;
  }
}

TEST(RoleRecord, keeps_what_a_later_release_adds) {
  std::string body = body_of(encode_role_record(record(false)));
  body.resize(body.size() - 2);
  body += std::string("\0\3new", 5);
  const auto read = decode_role_record(sealed(body));
  ASSERT_TRUE(read) << read.error().text();
  EXPECT_EQ(read->later, "new");
  EXPECT_EQ(read->reg, record(false).reg);
  EXPECT_EQ(encode_role_record(*read), sealed(body));
}

TEST(RoleRecord, refuses_what_it_must_not_go_on_without) {
  const std::string good = body_of(encode_role_record(record(false)));
  std::string version = good;
  version[4] = 2;
  EXPECT_FALSE(decode_role_record(sealed(version)));
  std::string flag = good;
  flag[45] = static_cast<char>(flag[45] | 8);
  EXPECT_FALSE(decode_role_record(sealed(flag)));
  std::string count = good;
  count[46] = 17;
  EXPECT_FALSE(decode_role_record(sealed(count)));
  EXPECT_FALSE(decode_role_record(sealed(good + "x")));
  EXPECT_FALSE(decode_role_record(""));
}

}  // namespace
}  // namespace everspan::failover
