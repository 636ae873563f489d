// The command line of everspan-depot. Exit: 0 ok, 1 failed, 2 usage, 3 refused, 5 conflict.
#pragma once

namespace everspan::depot {

int run_depot(int argc, char** argv);

}  // namespace everspan::depot
