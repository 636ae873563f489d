// everspan-base: reads the command line, makes the data folder at the first start, then serves.
#pragma once

namespace everspan::supervisor {

// Exit status: 0 stopped in order, 1 failed, 2 usage, 3 refused.
int run_base(int argc, char** argv);

}  // namespace everspan::supervisor
