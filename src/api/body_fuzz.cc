// Foreign bytes as a request's body: read as each kind of member that a call may ask for.
#include <cstdlib>

#include "api/detail/json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace everspan::api;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto body = parse_body(bytes);
  if (!body) return 0;
  BodyReader reader(*body);
  const std::string text = reader.text("a", 20);
  const std::string other = reader.text_or("b", 20, "otherwise");
  const std::int64_t number = reader.number_or("n", -5, 1000, 7);
  (void)reader.flag_or("f", true);
  const auto texts = reader.texts("l", 3, 10);
  const std::string key = reader.base64url("k", 16);
  const json::value* any = reader.any("x");
  if (!reader.finish()) return 0;
  // All of it was there and in form.
  if (text.size() > 20 || other.size() > 20 || number < -5 || number > 1000) std::abort();
  if (texts.size() > 3 || key.size() != 16 || any == nullptr) std::abort();
  for (const auto& each : texts)
    if (each.size() > 10) std::abort();
  return 0;
}
