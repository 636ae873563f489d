// The site software of one node. Started by everspan-base with its socket as descriptor 3.
#include "node/site_main.h"

int main(int argc, char** argv) {
  return everspan::node::site_main(argc, argv);
}
