// One event loop a thread, one thread a core (DESIGN section 5). A connection stays on its thread.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "net/async.h"

namespace everspan::net {

class IoThreads {
 public:
  explicit IoThreads(unsigned count);  // 0: one a core
  ~IoThreads();                        // stop() and join
  [[nodiscard]] unsigned count() const;
  [[nodiscard]] Executor executor(unsigned index) const;  // index < count()
  // Longest delay between posting to a loop and running, in the last second: the relay's pace.
  [[nodiscard]] Duration loop_delay() const;
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace everspan::net
