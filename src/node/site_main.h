// everspan-site: serve under base, or test itself (--self-test LOG_COPY).
#pragma once

namespace everspan::node {

// 0: retired in order, or the self-test passed; 1: failed; 2: usage.
int site_main(int argc, char** argv);

}  // namespace everspan::node
