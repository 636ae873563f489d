// A whole site in a temporary folder: a real log with one writer in this process, read model, keys
// and the first administrators. For tests of site/ and api/.
#pragma once
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <boost/asio/use_future.hpp>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>

#include "common/check.h"
#include "common/crypto.h"
#include "proto/base.pb.h"
#include "site/context.h"
#include "site/genesis.h"
#include "store/log.h"

namespace everspan::site {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "everspan-XXXXXX").string();
    check(mkdtemp(pattern.data()) != nullptr, "a temporary folder");
    path_ = pattern;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string operator/(const char* name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// Runs a task to its end on a loop of this thread.
template <class T>
T run(net::Task<T> task) {
  net::asio::io_context loop;
  auto result = net::asio::co_spawn(loop, std::move(task), net::asio::use_future);
  loop.run();
  return result.get();
}

// The Writer of one process that holds the log. `before_submit` lets a test act between a read and
// its write; `fail_with` makes the next submits fail.
class LocalWriter : public Writer {
 public:
  explicit LocalWriter(store::LogWriter& log) : log_(log) {}
  std::function<void()> before_submit;
  std::atomic<int> submitted{0};

  void fail_with(std::string code) {
    const std::scoped_lock lock(mutex_);
    fail_code_ = std::move(code);
  }
  net::Task<Result<store::Outcome>> submit(store::Transaction transaction) override {
    ++submitted;
    std::string code;
    {
      const std::scoped_lock lock(mutex_);
      code = fail_code_;
    }
    if (!code.empty()) co_return fail(code, "The writer was told to fail", "Nothing was changed");
    if (before_submit) {
      auto act = std::move(before_submit);
      before_submit = nullptr;
      act();
    }
    co_return log_.submit_and_wait(std::move(transaction));
  }

 private:
  store::LogWriter& log_;
  std::mutex mutex_;
  std::string fail_code_;
};

class LocalSite {
 public:
  static constexpr const char* kPassword = "correct horse battery";

  LocalSite() {
    store::LogWriter::Options options;
    options.path = log_path;
    options.node_id = node;
    options.new_site = store::NewSite{random_id<LineageId>()};
    options.now = [this] { return now(); };
    log_writer = store::LogWriter::open(std::move(options)).value();
    check(log_writer->become_writer(Generation{1}).has_value(), "the test's writer");
    pb::SiteInit init;
    init.set_site_name("Example");
    init.set_admin_name("alice");
    init.set_admin_password(kPassword);
    init.set_appliance_admin_name("root");
    init.set_appliance_admin_password(kPassword);
    init.add_certificate_names("127.0.0.1");
    auto first = first_transaction(init, node, now());
    check(first.has_value(), "the first transaction");
    check(log_writer->submit_and_wait(std::move(*first)).has_value(), "the first transaction");
    log = store::LogReader::open(log_path).value();
    catalog = Catalog::open(folder / "read.db", *log).value();
    identity = std::make_unique<SiteIdentity>(load_identity(*log).value());
    secrets = std::make_unique<SiteSecrets>(load_secrets(*log).value());
    writer = std::make_unique<LocalWriter>(*log_writer);
    context = std::make_unique<Context>(
        Context{*log, *writer, *catalog, *identity, *secrets, node, [this] { return now(); }});
  }

  [[nodiscard]] WallTime now() const { return {clock_ms.load()}; }
  void pass(std::chrono::milliseconds time) { clock_ms += time.count(); }

  TemporaryFolder folder;
  const std::string log_path = folder / "log.db";
  NodeId node = random_id<NodeId>();
  std::atomic<std::int64_t> clock_ms{1'800'000'000'000};
  std::unique_ptr<store::LogWriter> log_writer;
  std::unique_ptr<store::LogReader> log;
  std::unique_ptr<Catalog> catalog;
  std::unique_ptr<SiteIdentity> identity;
  std::unique_ptr<SiteSecrets> secrets;
  std::unique_ptr<LocalWriter> writer;
  std::unique_ptr<Context> context;
};

[[nodiscard]] inline WriteOptions new_write() {
  return {.request_id = random_id<RequestId>(), .if_match = std::nullopt};
}

}  // namespace everspan::site
