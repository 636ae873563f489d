#include "supervisor/run_base.h"

int main(int argc, char** argv) {
  return everspan::supervisor::run_base(argc, argv);
}
