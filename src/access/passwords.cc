#include "access/passwords.h"

#include <sodium.h>

#include <array>
#include <atomic>
#include <boost/asio/thread_pool.hpp>

#include "common/check.h"
#include "common/crypto.h"

namespace everspan::access {
namespace {

constexpr unsigned long long kPasses = crypto_pwhash_OPSLIMIT_INTERACTIVE;
constexpr std::size_t kMemoryBytes = crypto_pwhash_MEMLIMIT_INTERACTIVE;

void start_sodium() {
  check(sodium_init() >= 0, "libsodium starts");  // 1: it was started before.
}

std::unexpected<Error> too_many() {
  return fail("slow_down", "Too many passwords are being checked", "",
              "Try again in a few seconds");
}

}  // namespace

Result<std::string> hash_password(const std::string& password) {
  start_sodium();
  std::array<char, crypto_pwhash_STRBYTES> text{};
  if (crypto_pwhash_str_alg(text.data(), password.data(), password.size(), kPasses, kMemoryBytes,
                            crypto_pwhash_ALG_ARGON2ID13) != 0)
    return fail("no_memory", "There was not enough memory (64 MiB) to hash a password");
  return std::string(text.data());
}

bool verify_password(const std::string& hash, const std::string& password) {
  start_sodium();
  return crypto_pwhash_str_verify(hash.c_str(), password.data(), password.size()) == 0;
}

struct PasswordWorkers::State {
  explicit State(unsigned threads) : pool(threads == 0 ? 1 : threads) {
    // What an unknown account is compared with: same parameters, so the same time. The password is
    // random and forgotten at once.
    auto made = hash_password(random_bytes(24));
    check(made.has_value(), "64 MiB of memory for a password hash");
    nobody = *made;
  }
  std::string nobody;
  std::atomic<std::size_t> waiting = 0;
  net::asio::thread_pool pool;
};

namespace {

// Counts one piece of work from when it is asked for until its caller has the answer or is gone.
struct Ticket {
  explicit Ticket(std::atomic<std::size_t>& of) : count(of), good(++of <= kPasswordQueueMax) {}
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;
  ~Ticket() { --count; }
  std::atomic<std::size_t>& count;
  bool good;
};

net::Task<Result<std::string>> hash_there(std::string password) {
  auto hash = hash_password(password);
  wipe(password);
  co_return hash;
}

net::Task<bool> verify_there(std::string hash, std::string password) {
  const bool good = verify_password(hash, password);
  wipe(password);
  co_return good;
}

}  // namespace

PasswordWorkers::PasswordWorkers(unsigned threads) : state_(std::make_unique<State>(threads)) {}
PasswordWorkers::~PasswordWorkers() {
  state_->pool.join();
}

net::Task<Result<std::string>> PasswordWorkers::hash(std::string password) {
  const Ticket ticket(state_->waiting);
  if (!ticket.good) co_return too_many();
  auto hash = co_await net::asio::co_spawn(state_->pool, hash_there(std::move(password)),
                                           net::asio::use_awaitable);
  co_return hash;
}

net::Task<Result<bool>> PasswordWorkers::verify(std::string hash, std::string password) {
  const Ticket ticket(state_->waiting);
  if (!ticket.good) co_return too_many();
  const bool known = !hash.empty();
  if (!known) hash = state_->nobody;
  const bool good = co_await net::asio::co_spawn(
      state_->pool, verify_there(std::move(hash), std::move(password)), net::asio::use_awaitable);
  co_return known&& good;
}

}  // namespace everspan::access
