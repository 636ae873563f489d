#include "agent/host.h"

int main() {
  return everspan::agent::run_session_host();
}
