#include "api/api.h"

// The document is linked in as it is, so that what is served is what is reviewed.
__asm__(
    ".section .rodata\n"
    ".global everspan_openapi_begin\n"
    ".global everspan_openapi_end\n"
    "everspan_openapi_begin:\n"
    ".incbin \"" EVERSPAN_OPENAPI_PATH
    "\"\n"
    "everspan_openapi_end:\n"
    ".byte 0\n"
    ".text\n");
extern "C" {
extern const char everspan_openapi_begin[];
extern const char everspan_openapi_end[];
}

namespace everspan::api {

std::string_view openapi_document() {
  return {everspan_openapi_begin,
          static_cast<std::size_t>(everspan_openapi_end - everspan_openapi_begin)};
}

}  // namespace everspan::api
