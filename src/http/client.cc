#include "http/client.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <mutex>

#include "common/bytes.h"
#include "common/check.h"
#include "net/address.h"
#include "net/fd.h"

namespace everspan::http {
namespace {

constexpr std::size_t kHeaderBytesMax = 64 * 1024;
constexpr std::size_t kRefusalBytesMax = 64 * 1024;

void start_library() {
  static std::once_flag once;
  std::call_once(once, [] {
    check(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK, "libcurl can be started");
  });
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) {
    text.remove_suffix(1);
  }
  return text;
}

struct Headers {
  curl_slist* list = nullptr;
  Headers() = default;
  Headers(const Headers&) = delete;
  Headers& operator=(const Headers&) = delete;
  ~Headers() { curl_slist_free_all(list); }
  void add(const std::string& line) {
    curl_slist* longer = curl_slist_append(list, line.c_str());
    check(longer != nullptr, "there is memory for a header");
    list = longer;
  }
};

// What libcurl's callbacks write to.
struct Exchange {
  ClientResponse response;
  std::size_t header_bytes = 0;
  std::size_t body_bytes_max = 0;
  bool too_large = false;
  CURL* handle = nullptr;

  // Downloads only.
  int file = -1;
  std::uint64_t offset = 0;   // Of the file when the request began.
  std::uint64_t written = 0;  // Since then.
  std::uint64_t file_bytes_max = 0;
  int write_errno = 0;
  bool stopped = false;
  const std::function<bool(std::uint64_t, std::uint64_t)>* progress = nullptr;
};

std::size_t on_header(char* data, std::size_t size, std::size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  const std::string_view line(data, size * count);
  exchange.header_bytes += line.size();
  if (exchange.header_bytes > kHeaderBytesMax) {
    exchange.too_large = true;
    return 0;
  }
  if (line.starts_with("HTTP/")) exchange.response.headers.clear();  // After a 100 Continue.
  const std::size_t colon = line.find(':');
  if (colon != std::string_view::npos) {
    exchange.response.headers[lower(line.substr(0, colon))] = trimmed(line.substr(colon + 1));
  }
  return line.size();
}

std::size_t keep_in_memory(Exchange& exchange, std::string_view data, std::size_t limit) {
  if (exchange.response.body.size() + data.size() > limit) {
    exchange.too_large = true;
    return 0;
  }
  exchange.response.body += data;
  return data.size();
}

std::size_t on_body(char* data, std::size_t size, std::size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  return keep_in_memory(exchange, {data, size * count}, exchange.body_bytes_max);
}

std::size_t on_download(char* data, std::size_t size, std::size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  const std::string_view piece(data, size * count);
  long status = 0;
  curl_easy_getinfo(exchange.handle, CURLINFO_RESPONSE_CODE, &status);
  if (status != 200 && status != 206) return keep_in_memory(exchange, piece, kRefusalBytesMax);
  if (status == 200 && exchange.offset > 0) {
    // The server does not resume: from the beginning then.
    if (ftruncate(exchange.file, 0) != 0) {
      exchange.write_errno = errno;
      return 0;
    }
    exchange.offset = 0;
  }
  if (exchange.offset + exchange.written + piece.size() > exchange.file_bytes_max) {
    exchange.too_large = true;
    return 0;
  }
  std::size_t done = 0;
  while (done < piece.size()) {
    const ssize_t wrote = pwrite(exchange.file, piece.data() + done, piece.size() - done,
                                 static_cast<off_t>(exchange.offset + exchange.written + done));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) {
      exchange.write_errno = errno;
      return 0;
    }
    done += static_cast<std::size_t>(wrote);
  }
  exchange.written += done;
  return done;
}

int on_progress(void* user, curl_off_t expected, curl_off_t, curl_off_t, curl_off_t) {
  auto& exchange = *static_cast<Exchange*>(user);
  const std::uint64_t total =
      expected > 0 ? exchange.offset + static_cast<std::uint64_t>(expected) : 0;
  if ((*exchange.progress)(exchange.offset + exchange.written, total)) return 0;
  exchange.stopped = true;
  return 1;
}

Error explain(CURLcode code, const Exchange& exchange, const std::string& url, const char* detail) {
  const std::string where = "\"" + printable(url, 300) + "\"";
  const std::string why = *detail != '\0' ? detail : curl_easy_strerror(code);
  if (exchange.too_large) return {"too_large", "The answer of " + where + " is too long", {}, {}};
  if (exchange.stopped) return {"cancelled", "The download was stopped", "What came is kept", {}};
  if (exchange.write_errno != 0) {
    return fail_errno("io", "Writing what came from " + where, exchange.write_errno).error();
  }
  long verified = 0;  // An X509_V_ERR_ of OpenSSL; libcurl's own code is not always as clear.
  curl_easy_getinfo(exchange.handle, CURLINFO_SSL_VERIFYRESULT, &verified);
  long broke = 0;  // A node that dies in the handshake has shown no certificate to judge.
  curl_easy_getinfo(exchange.handle, CURLINFO_OS_ERRNO, &broke);
  if (code == CURLE_SSL_CONNECT_ERROR && (broke == ECONNRESET || broke == EPIPE))
    return {"unreachable", where + " cannot be reached: " + why, {}, {}};
  if (code == CURLE_SSL_CONNECT_ERROR && verified != 0) code = CURLE_PEER_FAILED_VERIFICATION;
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return {"timeout", where + " did not answer in time", {}, {}};
    case CURLE_PEER_FAILED_VERIFICATION:
      return {"tls_certificate",
              "The certificate of " + where + " is not trusted: " + why,
              {},
              "Check the address and the CA that you use"};
    case CURLE_SSL_CONNECT_ERROR:
      return {"tls_handshake", "No secure connection with " + where + ": " + why, {}, {}};
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_PARTIAL_FILE:
      return {"cut", "The connection with " + where + " broke: " + why, {}, {}};
    case CURLE_SSL_CACERT_BADFILE:
      return {"tls_certificate", "The CA cannot be read: " + why, {}, {}};
    default:
      return {"unreachable", where + " cannot be reached: " + why, {}, {}};
  }
}

// https always; http only where the caller asked for it and the host is a loopback number.
Result<void> check_url(const std::string& url, const ClientOptions& options) {
  if (url.starts_with("https://")) {
    if (!options.ca_pem.empty()) return {};
    return fail("tls_certificate", "There is no CA to trust for " + printable(url));
  }
  if (options.plain_http_on_loopback && url.starts_with("http://")) {
    const std::string_view rest = std::string_view(url).substr(7);
    const std::string authority(rest.substr(0, rest.find_first_of("/?#")));
    const auto address = net::Address::parse(authority);
    if (address && net::is_loopback(*address)) return {};
  }
  return fail("bad_address", printable(url) + " is no https address");
}

}  // namespace

struct Client::State {
  ClientOptions options;
  CURL* handle = nullptr;
  char detail[CURL_ERROR_SIZE] = {};

  explicit State(ClientOptions o) : options(std::move(o)) {
    start_library();
    handle = curl_easy_init();
    check(handle != nullptr, "libcurl gives a handle");
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { curl_easy_cleanup(handle); }

  template <class T>
  void set(CURLoption option, T value) {
    check(curl_easy_setopt(handle, option, value) == CURLE_OK, "libcurl knows its options");
  }

  void prepare(const std::string& url, Exchange& exchange, const Headers& headers) {
    curl_easy_reset(handle);
    detail[0] = '\0';
    exchange.handle = handle;
    set(CURLOPT_URL, url.c_str());
    set(CURLOPT_ERRORBUFFER, static_cast<char*>(detail));
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_PROTOCOLS_STR, "https,http");
    set(CURLOPT_FOLLOWLOCATION, 0L);
    set(CURLOPT_PROXY, "");
    set(CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
    set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_3));
    set(CURLOPT_SSL_VERIFYPEER, 1L);
    set(CURLOPT_SSL_VERIFYHOST, 2L);
    set(CURLOPT_CAINFO, static_cast<const char*>(nullptr));
    set(CURLOPT_CAPATH, static_cast<const char*>(nullptr));
    if (!options.ca_pem.empty()) {
      curl_blob ca{};
      ca.data = options.ca_pem.data();
      ca.len = options.ca_pem.size();
      ca.flags = CURL_BLOB_COPY;
      set(CURLOPT_CAINFO_BLOB, &ca);
    }
    set(CURLOPT_USERAGENT, options.user_agent.c_str());
    set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.connect_timeout.count()));
    set(CURLOPT_HTTPHEADER, headers.list);
    set(CURLOPT_HEADERFUNCTION, &on_header);
    set(CURLOPT_HEADERDATA, &exchange);
    set(CURLOPT_WRITEDATA, &exchange);
  }

  Result<ClientResponse> perform(const std::string& url, Exchange& exchange) {
    const CURLcode code = curl_easy_perform(handle);
    if (code != CURLE_OK) return std::unexpected(explain(code, exchange, url, detail));
    long status = 0;
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    exchange.response.status = static_cast<int>(status);
    return std::move(exchange.response);
  }
};

Client::Client(ClientOptions options) : state_(std::make_unique<State>(std::move(options))) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

namespace {

Result<void> add_headers(Headers& list,
                         const std::vector<std::pair<std::string, std::string>>& headers) {
  for (const auto& [name, value] : headers) {
    if ((name + value).find_first_of("\r\n") != std::string::npos) {
      return fail("bad_request", "A header must not hold a line break");
    }
    list.add(name + ": " + value);
  }
  list.add("Expect:");  // No round trip before a body.
  return {};
}

}  // namespace

Result<ClientResponse> Client::request(const ClientRequest& request) {
  State& state = *state_;
  const auto allowed = check_url(request.url, state.options);
  if (!allowed) return fail(allowed);
  Headers headers;
  const auto added = add_headers(headers, request.headers);
  if (!added) return fail(added);
  Exchange exchange;
  exchange.body_bytes_max = request.answer_bytes_max;
  state.prepare(request.url, exchange, headers);
  state.set(CURLOPT_WRITEFUNCTION, &on_body);
  state.set(CURLOPT_TIMEOUT_MS, static_cast<long>(state.options.timeout.count()));
  const bool has_body =
      !request.body.empty() || request.method == "POST" || request.method == "PUT";
  if (has_body) {
    state.set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    state.set(CURLOPT_POSTFIELDS, request.body.data());
  }
  if (request.method == "HEAD") {
    state.set(CURLOPT_NOBODY, 1L);
  } else {
    state.set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
  return state.perform(request.url, exchange);
}

Result<ClientResponse> Client::download(const DownloadRequest& request) {
  State& state = *state_;
  const auto allowed = check_url(request.url, state.options);
  if (!allowed) return fail(allowed);
  Headers headers;
  const auto added = add_headers(headers, request.headers);
  if (!added) return fail(added);
  const net::Fd file(open(request.path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  struct stat info{};
  if (!file || fstat(file.get(), &info) != 0) {
    return fail_errno("io", "Opening " + request.path, errno);
  }
  Exchange exchange;
  exchange.file = file.get();
  exchange.offset = static_cast<std::uint64_t>(info.st_size);
  exchange.file_bytes_max = request.bytes_max;
  state.prepare(request.url, exchange, headers);
  state.set(CURLOPT_WRITEFUNCTION, &on_download);
  // CURLOPT_RESUME_FROM would make a server that does not resume an error.
  const std::string range = std::to_string(exchange.offset) + "-";
  if (exchange.offset > 0) state.set(CURLOPT_RANGE, range.c_str());
  // No limit on the whole time: a large file over a slow line is fine while bytes come.
  state.set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  state.set(CURLOPT_LOW_SPEED_TIME,
            std::max(1L, static_cast<long>(state.options.stall_timeout.count() / 1000)));
  if (request.progress) {
    exchange.progress = &request.progress;
    state.set(CURLOPT_NOPROGRESS, 0L);
    state.set(CURLOPT_XFERINFOFUNCTION, &on_progress);
    state.set(CURLOPT_XFERINFODATA, &exchange);
  }
  auto response = state.perform(request.url, exchange);
  // Also after a failure: what came is kept for the next attempt.
  if (fsync(file.get()) != 0) return fail_errno("io", "Keeping " + request.path, errno);
  return response;
}

}  // namespace everspan::http
