#include "agent/main.h"

int main(int argc, char** argv) {
  return everspan::agent::agent_main(argc, argv);
}
