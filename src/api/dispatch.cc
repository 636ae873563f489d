#include "api/detail/dispatch.h"

#include <algorithm>
#include <charconv>

#include "api/detail/errors.h"
#include "api/detail/failover_json.h"
#include "common/crypto.h"
#include "common/log.h"
#include "store/journal.h"

namespace everspan::api {
namespace {

std::string person_of(const access::Identity& who) {
  return std::string(access::area_name(who.area)) + "/" + who.account;
}

Result<std::string> bearer_token(const http::Request& request) {
  constexpr std::string_view kScheme = "Bearer ";
  const std::string header = request.header("authorization");
  if (header.empty())
    return fail("unauthenticated", "This needs a log-in", "", "Log in, and send the token");
  if (!header.starts_with(kScheme))
    return fail("unauthenticated", "Only Bearer tokens are taken", "", "Log in");
  return header.substr(kScheme.size());
}

Result<access::Identity> who_holds(State& state, const std::string& token) {
  const auto local = state.local_logins.find(token, state.services.site.now());
  if (!local) return state.accounts.authenticate(token);
  const auto account = state.accounts.find(local->area, local->account);
  if (!account) return fail(account);
  if (!*account || (*account)->disabled || (*account)->revision != local->revision)
    return fail("unauthenticated", "The account was changed since this log-in", "", "Log in again");
  return access::Identity{local->area, local->account, (*account)->scopes};
}

Result<access::Identity> identify(State& state, const Route& route, const http::Request& request) {
  const auto token = bearer_token(request);
  if (!token) return fail(token);
  auto who = who_holds(state, *token);
  if (!who) return who;
  if (who->area == access::Area::appliance && !state.services.node.is_own_address(request.local))
    return fail("forbidden", "The appliance is administered on its own address only", "",
                "Use the node's own address");
  return who;
}

Result<void> authorise(const Route& route, const access::Identity& who) {
  switch (route.needs) {
    case Needs::nothing:
    case Needs::any_area:
      return {};
    case Needs::site:
      return access::require(who, access::Area::site, route.scope);
    case Needs::appliance:
      return access::require(who, access::Area::appliance, route.scope);
  }
  return fail("forbidden", "This is not allowed");
}

// Bound to who calls what, so that nobody gets the outcome of somebody else's request.
Result<RequestId> request_id_of(const http::Request& request, const std::string& person) {
  const std::string key = request.header("idempotency-key");
  if (key.empty()) return random_id<RequestId>();
  const auto given = RequestId::from_hex(key);
  if (!given)
    return fail("bad_request", "An Idempotency-Key is 32 hex digits", "Nothing was changed");
  std::string words = "everspan request 1";
  for (const std::string& word : {person, request.method, request.path, given->raw()}) {
    put_u32(words, static_cast<std::uint32_t>(word.size()));
    words += word;
  }
  const Sha256 digest = sha256(words);
  RequestId id;
  std::copy_n(digest.begin(), id.bytes.size(), id.bytes.begin());
  return id;
}

Result<std::optional<Revision>> if_match_of(const http::Request& request) {
  std::string text = request.header("if-match");
  if (text.empty()) return std::nullopt;
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"')
    text = text.substr(1, text.size() - 2);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    return fail("bad_request", "If-Match must be one revision, as in an ETag",
                "Nothing was changed");
  return Revision{value};
}

Result<Call> prepare(State& state, const Route& route, http::Request request,
                     http::PathValues path) {
  Call call{.request = std::move(request), .path = std::move(path)};
  call.address = call.request.peer.host;
  call.person = call.address;
  if (route.needs != Needs::nothing) {
    auto who = identify(state, route, call.request);
    if (!who) return fail(who);
    call.who = std::move(*who);
    call.person = person_of(call.who);
  }
  return call;
}

// The rest of a call, once it is known who asks.
Result<void> read_rest(Call& call) {
  auto body = parse_body(call.request.body);
  if (!body) return fail(body);
  call.body = std::move(*body);
  const auto id = request_id_of(call.request, call.person);
  if (!id) return fail(id);
  call.request_id = *id;
  const auto if_match = if_match_of(call.request);
  if (!if_match) return fail(if_match);
  call.if_match = *if_match;
  return {};
}

// With the primary's address, and this call there: who asked here may ask there.
http::Response not_primary(State& state, const std::string& target, const Error& error) {
  json::object inner = error_json(error);
  http::Response response;
  response.status = status_of(error.code);
  const auto elsewhere = state.services.failover.primary_elsewhere();
  if (elsewhere && elsewhere->address) {
    inner["address"] = elsewhere->address->text();
    response.headers.emplace_back("Location", "https://" + elsewhere->address->text() + target);
  }
  response.body = json::serialize(json::object{{"error", std::move(inner)}});
  return response;
}

http::Response to_response(State& state, const std::string& target, const Error& error) {
  if (error.code == "not_primary") return not_primary(state, target, error);
  const int status = status_of(error.code);
  if (status == 500) log_error("api.failed", {{"code", error.code}, {"message", error.message}});
  http::Response response = http::error_response(status, error);
  if (status == 429 || status == 503)
    response.headers.emplace_back("Retry-After", std::to_string(retry_after_s(error)));
  if (status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

http::Response to_response(const Answer& answer) {
  http::Response response;
  response.status = answer.status;
  response.body = json::serialize(answer.body);
  if (answer.etag)
    response.headers.emplace_back("ETag", '"' + std::to_string(answer.etag->value) + '"');
  return response;
}

net::Task<Result<Answer>> run(State& state, const Route& route, Call call) {
  std::string person = call.person;
  const std::string address = call.address;
  const auto journal_refused = [&] {
    if (route.audit.empty()) return;
    json::object detail{{"address", address}, {"call", std::string(route.audit)}};
    journal_soon(state, person, "access.refused", std::string(route.pattern), std::move(detail));
  };
  if (auto allowed = authorise(route, call.who); !allowed) {
    journal_refused();
    co_return fail(allowed);
  }
  if (auto good = read_rest(call); !good) co_return fail(good);
  const std::string request_id = call.request_id.hex();
  auto answer = co_await route.run(state, std::move(call));
  // The scope was there, but not for this: somebody who has more, a password that was guessed.
  if (!answer && answer.error().code == "forbidden") journal_refused();
  if (!answer || route.audit.empty() || answer->repeated || answer->journalled) co_return answer;
  if (!answer->who.empty()) person = answer->who;
  json::object detail = answer->detail;
  detail["address"] = address;
  detail["request"] = request_id;
  if (!route.audit_durable) {
    journal_soon(state, person, std::string(route.audit), answer->subject, std::move(detail));
    co_return answer;
  }
  const auto kept = co_await journal_kept(state, person, std::string(route.audit), answer->subject,
                                          std::move(detail));
  if (!kept)
    co_return fail("journal_failed", "It was done, but could not be journalled",
                   "The change is kept", "Look at the node's disk");
  co_return answer;
}

store::JournalEntry entry_of(State& state, std::string who, std::string what, std::string subject,
                             const json::object& detail) {
  store::JournalEntry entry;
  entry.who = who.substr(0, store::kJournalTextBytesMax);
  entry.what = std::move(what);
  entry.subject = subject.substr(0, store::kJournalTextBytesMax);
  entry.detail = json::serialize(detail);
  entry.at = state.services.site.now();
  return entry;
}

// Lives until the journal's thread has answered, whatever becomes of the call.
struct JournalWait {
  net::Executor executor;
  store::JournalEntry entry;
  Result<void> result;
};

}  // namespace

void journal_soon(State& state, std::string who, std::string what, std::string subject,
                  json::object detail) {
  state.services.journal.append(
      entry_of(state, std::move(who), std::move(what), std::move(subject), detail));
}

net::Task<Result<void>> journal_kept(State& state, std::string who, std::string what,
                                     std::string subject, json::object detail) {
  auto wait = std::make_shared<JournalWait>();
  wait->executor = co_await net::asio::this_coro::executor;
  wait->entry = entry_of(state, std::move(who), std::move(what), std::move(subject), detail);
  const auto start = [&state, wait](auto handler) {
    auto shared = std::make_shared<decltype(handler)>(std::move(handler));
    state.services.journal.append(
        std::move(wait->entry), [wait, shared](Result<std::uint64_t> seq) {
          if (!seq) wait->result = fail(seq);
          net::asio::post(wait->executor, [shared] { std::move (*shared)(); });
        });
  };
  co_await net::asio::async_initiate<const net::asio::use_awaitable_t<>, void()>(
      start, net::asio::use_awaitable);
  co_return wait->result;
}

Answer write_answer(const store::Outcome& outcome) {
  return {.body = outcome_json(outcome), .etag = outcome.revision, .repeated = outcome.repeated};
}

std::unexpected<Error> slow_down(const char* what, Duration wait) {
  const auto seconds =
      std::max<std::int64_t>(1, std::chrono::ceil<std::chrono::seconds>(wait).count());
  return fail("slow_down", what, "Nothing was changed",
              "Try again in " + std::to_string(seconds) + " s");
}

int retry_after_s(const Error& error) {
  constexpr std::string_view kWords = "Try again in ";
  int seconds = 1;
  if (error.next.starts_with(kWords))
    std::from_chars(error.next.data() + kWords.size(), error.next.data() + error.next.size(),
                    seconds);
  return std::max(seconds, 1);
}

net::Task<http::Response> dispatch(State& state, const Route& route, http::Request request,
                                   http::PathValues path) {
  const std::string target = request.target;
  Result<Answer> answer = fail("internal", "Something went wrong here", "", "See the node's log");
  try {
    auto call = prepare(state, route, std::move(request), std::move(path));
    if (!call) {
      answer = fail(call);
    } else {
      answer = co_await run(state, route, std::move(*call));
    }
  } catch (const std::exception& error) {
    // Boost.JSON and the standard library may throw (memory); what was written stays written.
    log_error("api.exception", {{"route", std::string(route.pattern)}, {"what", error.what()}});
  }
  if (!answer) co_return to_response(state, target, answer.error());
  co_return to_response(*answer);
}

}  // namespace everspan::api
