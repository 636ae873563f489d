#include "update/http_fetcher.h"

#include <curl/curl.h>

#include <mutex>
#include <string_view>

#include "common/check.h"
#include "common/version.h"

namespace everspan::update {
namespace {

struct Part {
  CURLU* url = nullptr;
  [[nodiscard]] std::string get(CURLUPart part) const {
    char* text = nullptr;
    if (curl_url_get(url, part, &text, 0) != CURLUE_OK || text == nullptr) return {};
    std::string out(text);
    curl_free(text);
    return out;
  }
};

// By number only: a name may be made to point anywhere.
bool is_loopback_host(const std::string& host) {
  if (host == "[::1]") return true;
  return host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos;
}

struct CheckedUrl {
  bool loopback = false;
};
Result<CheckedUrl> check_url(const std::string& url) {
  const Part parts{curl_url()};
  const bool parsed =
      curl_url_set(parts.url, CURLUPART_URL, url.c_str(), CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK;
  const std::string scheme = parsed ? parts.get(CURLUPART_SCHEME) : "";
  const std::string host = parsed ? parts.get(CURLUPART_HOST) : "";
  const bool has_login = parsed && !parts.get(CURLUPART_USER).empty();
  curl_url_cleanup(parts.url);
  if (!parsed || host.empty() || has_login) return fail("bad_url", "Not a usable address: " + url);
  const bool loopback = is_loopback_host(host);
  if (scheme != "https" && !(scheme == "http" && loopback))
    return fail("bad_url", "Only https:// is allowed (http:// to this machine itself): " + url);
  return CheckedUrl{loopback};
}

struct Transfer {
  const Fetcher::Sink* sink = nullptr;
  CURL* curl = nullptr;
  std::uint64_t from = 0;
  std::uint64_t at = 0;
  std::uint64_t bytes_max = 0;
  bool began = false;
  Error error;
  const std::atomic<bool>* cancel = nullptr;
};

std::size_t on_bytes(char* data, std::size_t one, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const std::size_t size = one * count;
  if (!transfer.began) {
    long status = 0;
    curl_easy_getinfo(transfer.curl, CURLINFO_RESPONSE_CODE, &status);
    transfer.at = status == 206 ? transfer.from : 0;
    transfer.began = true;
  }
  if (size > transfer.bytes_max || transfer.at > transfer.bytes_max - size) {
    transfer.error = Error{"too_large", "The file is longer than allowed", "", ""};
    return CURL_WRITEFUNC_ERROR;
  }
  const auto used =
      (*transfer.sink)(transfer.at, Bytes(reinterpret_cast<const std::uint8_t*>(data), size));
  if (!used) {
    transfer.error = used.error();
    return CURL_WRITEFUNC_ERROR;
  }
  transfer.at += size;
  return size;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto& transfer = *static_cast<Transfer*>(user);
  return transfer.cancel != nullptr && transfer.cancel->load() ? 1 : 0;
}

[[nodiscard]] std::unexpected<Error> failed(CURLcode code, const std::string& url,
                                            const char* detail) {
  const std::string what = url + ": " + (*detail != '\0' ? detail : curl_easy_strerror(code));
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return fail("timeout", what, "", "Try again");
    case CURLE_ABORTED_BY_CALLBACK:
      return fail("cancelled", what);
    case CURLE_FILESIZE_EXCEEDED:
      return fail("too_large", what);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
      return fail("tls", what, "", "Check the address and the certificate of the update source");
    default:
      return fail("unreachable", what, "", "Check the address of the update source");
  }
}

}  // namespace

struct HttpFetcher::State {
  HttpFetcherOptions options;
  CURL* curl = nullptr;
};

HttpFetcher::HttpFetcher(HttpFetcherOptions options) : state_(std::make_unique<State>()) {
  static std::once_flag once;
  std::call_once(once, [] { check(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK, "libcurl"); });
  state_->options = std::move(options);
  if (state_->options.user_agent.empty())
    state_->options.user_agent = "everspan/" + std::string(program_version());
  state_->curl = curl_easy_init();
  check(state_->curl != nullptr, "libcurl gives a handle");
}
HttpFetcher::~HttpFetcher() {
  curl_easy_cleanup(state_->curl);
}

Result<void> HttpFetcher::get(const std::string& url, std::uint64_t from, std::uint64_t bytes_max,
                              const Sink& sink) {
  const auto checked = check_url(url);
  if (!checked) return fail(checked);
  CURL* curl = state_->curl;
  const HttpFetcherOptions& options = state_->options;
  curl_easy_reset(curl);  // Connections stay: many small files, one handshake.
  Transfer transfer{&sink, curl, from, 0, bytes_max, false, {}, options.cancel};
  char detail[CURL_ERROR_SIZE] = "";
  const auto ms = [](std::chrono::milliseconds d) { return static_cast<long>(d.count()); };
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, checked->loopback ? "http,https" : "https");
  if (checked->loopback) curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, ms(options.connect_timeout));
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, std::max(1L, ms(options.stall_timeout) / 1000));
  curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(bytes_max));
  curl_easy_setopt(curl, CURLOPT_USERAGENT, options.user_agent.c_str());
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
  if (from > 0) curl_easy_setopt(curl, CURLOPT_RANGE, (std::to_string(from) + "-").c_str());
  if (!options.ca_pem.empty()) {
    curl_blob blob{const_cast<char*>(options.ca_pem.data()), options.ca_pem.size(),
                   CURL_BLOB_NOCOPY};
    curl_easy_setopt(curl, CURLOPT_CAINFO_BLOB, &blob);
    curl_easy_setopt(curl, CURLOPT_CAPATH, nullptr);
  }
  const CURLcode code = curl_easy_perform(curl);
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, nullptr);
  if (!transfer.error.code.empty()) return std::unexpected(transfer.error);
  if (code == CURLE_HTTP_RETURNED_ERROR && (status == 404 || status == 403))
    return fail("not_found", url + " is not there");
  if (code == CURLE_HTTP_RETURNED_ERROR && status == 416)  // We asked for what lies behind its end.
    return fail("truncated", url + " is shorter than the signed metadata says");
  if (code == CURLE_HTTP_RETURNED_ERROR)
    return fail("http_error", url + " answered " + std::to_string(status));
  if (code != CURLE_OK) return failed(code, url, detail);
  if (status / 100 != 2) return fail("http_error", url + " answered " + std::to_string(status));
  return {};
}

}  // namespace everspan::update
