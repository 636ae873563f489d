// everspan-depot: the update server and signing tool.
#include "depot/commands.h"

int main(int argc, char** argv) {
  return everspan::depot::run_depot(argc, argv);
}
