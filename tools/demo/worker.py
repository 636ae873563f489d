"""Common to the demo's helper processes (writer, prober, person, sampler): JSON lines, stopping."""
import json
import select
import signal
import sys
import time


class Lines:
    """JSON lines to a file; flushed about once a second and at the end."""

    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8", buffering=1 << 16)
        self.flushed = time.monotonic()

    def add(self, **line):
        self.file.write(json.dumps(line, separators=(",", ":")) + "\n")
        if time.monotonic() - self.flushed > 1:
            self.flush()

    def flush(self):
        self.file.flush()
        self.flushed = time.monotonic()


class Stop:
    """Asked to stop: a line or the end of standard input (the driver is gone), or SIGTERM."""

    def __init__(self):
        self.asked = False
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's; it stops us in order.

    def _on_signal(self, *_):
        self.asked = True

    def wait(self, seconds):
        """Waits so long, or until asked; True when asked."""
        if self.asked:
            return True
        ready, _, _ = select.select([sys.stdin], [], [], max(0, seconds))
        if ready:
            sys.stdin.readline()
            self.asked = True
        return self.asked


def say(text):
    print(text, flush=True)
