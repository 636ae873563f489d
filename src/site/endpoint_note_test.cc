// Notes of endpoints: behind feature level 2, and harmless to release 0.1.0.
#include <gtest/gtest.h>

#include "proto/level.pb.h"
#include "proto/records.pb.h"
#include "site/endpoints.h"
#include "site/feature_level.h"
#include "site/records.h"
#include "site/test_support/local_site.h"

namespace everspan::site {
namespace {

struct EndpointNote : testing::Test {
  EndpointNote() {
    const std::string token =
        run(endpoints.make_token({.uses = 10, .created_by = "alice"}, new_write())).value().token;
    for (const char* name : {"web", "db"}) {
      Enrolment asked{.token = token,
                      .name = name,
                      .public_key = SigningKey::generate().public_key(),
                      .platform = "linux-x86_64",
                      .release = "0.1.0"};
      EXPECT_TRUE(run(endpoints.enrol(asked)));
    }
  }
  void raise_level(std::uint32_t level) {
    pb::FeatureLevelRecord record;
    record.set_level(level);
    store::Transaction transaction;
    transaction.writes.push_back(store::Write::put(
        std::string(kKindFeatureLevel), std::string(kKeySite), record.SerializeAsString()));
    ASSERT_TRUE(site.log_writer->submit_and_wait(std::move(transaction)));
  }
  std::string set(const std::string& name, const std::string& note,
                  WriteOptions options = new_write()) {
    const auto done = run(endpoints.set_note(name, note, options));
    return done ? "" : done.error().code;
  }
  std::vector<std::string> names(Catalog& catalog, const std::string& word) {
    EXPECT_TRUE(catalog.refresh());
    std::vector<std::string> found;
    const auto rows = catalog.endpoints(word);
    for (const EndpointRow& row : rows.value()) found.push_back(row.name);
    return found;
  }
  using Names = std::vector<std::string>;

  LocalSite site;
  Endpoints endpoints{*site.context};
};

TEST_F(EndpointNote, IsRefusedUntilTheSiteIsAtLevel2) {
  const auto before = site.log->head().value().revision;
  const auto refused = run(endpoints.set_note("web", "in the cellar", new_write()));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, "feature_not_yet");
  EXPECT_EQ(refused.error().next, "Finish the upgrade: everspan upgrade finalize");
  EXPECT_EQ(site.log->head().value().revision, before) << "nothing was written";
  raise_level(2);
  EXPECT_EQ(set("WEB", "in the cellar"), "");
  EXPECT_EQ(endpoints.find("web").value()->note, "in the cellar");
  EXPECT_EQ(set("web", ""), "");
  EXPECT_EQ(endpoints.find("web").value()->note, "");
  EXPECT_EQ(set("nobody", "x"), "not_found");
}

TEST_F(EndpointNote, IsOneLineOfPrintableText) {
  raise_level(2);
  std::string longest;
  for (std::size_t i = 0; i < kNoteCharactersMax; ++i) longest += "\u20ac";
  EXPECT_EQ(set("web", longest), "");
  EXPECT_EQ(set("web", longest + "x"), "bad_value");
  for (const char* bad : {"two\nlines", "\x1b[2J", "\xc3\x28", "\u202egnp.exe"})
    EXPECT_EQ(set("web", bad), "bad_value");
  EXPECT_EQ(endpoints.find("web").value()->note, longest);
}

TEST_F(EndpointNote, ARetryRunsOnceAndAnotherNoteWithItsKeyIsAConflict) {
  raise_level(2);
  const WriteOptions write = new_write();
  EXPECT_EQ(set("web", "a", write), "");
  EXPECT_EQ(set("web", "b"), "");
  EXPECT_EQ(set("web", "a", write), "");
  EXPECT_EQ(endpoints.find("web").value()->note, "b");
  EXPECT_EQ(set("web", "c", write), "conflict");
}

TEST_F(EndpointNote, IsListedAndFoundByAWord) {
  raise_level(2);
  ASSERT_EQ(set("web", "Rack 7, call Ann first"), "");
  ASSERT_EQ(set("db", "rack 9"), "");
  Catalog& catalog = *site.catalog;
  EXPECT_EQ(names(catalog, ""), (Names{"db", "web"}));
  EXPECT_EQ(names(catalog, "RACK"), (Names{"db", "web"}));
  EXPECT_EQ(names(catalog, "ann"), Names{"web"});
  EXPECT_EQ(names(catalog, "%"), Names{}) << "a word, not a pattern";
  ASSERT_EQ(set("web", ""), "");
  EXPECT_EQ(names(catalog, "ann"), Names{});
  ASSERT_TRUE(run(endpoints.remove("db", new_write())));
  EXPECT_EQ(names(catalog, "rack"), Names{});
  EXPECT_EQ(names(catalog, ""), Names{"web"});
}

TEST_F(EndpointNote, ANewReadModelHoldsTheNotesThatTheLogHadBefore) {
  raise_level(2);
  ASSERT_EQ(set("web", "rack 7"), "");
  const std::string path = site.folder / "later.db";
  const auto learner = Catalog::open(path, *site.log).value();
  EXPECT_EQ(names(*learner, "rack"), Names{"web"});
  EXPECT_EQ(learner->endpoints().value()[1].note, "rack 7");
}

TEST_F(EndpointNote, AReadModelOfTheSchemaBeforeIsMadeAnew) {
  raise_level(2);
  ASSERT_EQ(set("web", "rack 7"), "");
  const std::string path = site.folder / "before.db";
  {
    struct Nothing : store::Projection {
      bool knows(std::string_view) const override { return true; }
      Result<void> put(store::Database&, std::string_view, const store::Record&) override {
        return {};
      }
      Result<void> erase(store::Database&, std::string_view, std::string_view) override {
        return {};
      }
    } nothing;
    const auto before = store::ReadModel::open(
        path, {.version = 1, .ddl = {"CREATE TABLE endpoints (id TEXT PRIMARY KEY)"}}, nothing);
    ASSERT_TRUE(before);
    ASSERT_TRUE((*before)->catch_up(*site.log));
  }
  const auto catalog = Catalog::open(path, *site.log).value();
  EXPECT_EQ(names(*catalog, "rack"), Names{"web"});
}

// As release 0.1.0 edits a record: with a message that does not know field 9. EndpointName is such
// a one, and has the endpoint's id as its field 1 too.
TEST(EndpointNoteOfALaterRelease, SurvivesAnEditByAMessageThatDoesNotKnowIt) {
  const std::string golden = std::string("\x0a\x10") + "0123456789abcdef" + "\x12\x03web" +
                             "\x2a\x05" + "0.1.0" + "\x4a\x06" + "rack 7";
  pb::Endpoint read;
  ASSERT_TRUE(read.ParseFromString(golden));
  ASSERT_EQ(read.note(), "rack 7") << "the number of the field is for ever";
  ASSERT_EQ(read.SerializeAsString(), golden);
  const auto edit = store::edit_message<pb::EndpointName>(
      [](pb::EndpointName& record) { record.set_id("fedcba9876543210"); });
  const auto edited = edit(golden);
  ASSERT_TRUE(edited);
  pb::Endpoint now;
  ASSERT_TRUE(now.ParseFromString(*edited));
  EXPECT_EQ(now.id(), "fedcba9876543210");
  EXPECT_EQ(now.note(), "rack 7");
  EXPECT_EQ(now.name(), "web");
}

}  // namespace
}  // namespace everspan::site
