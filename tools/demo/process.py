"""Child processes of the demo: each in a process group of its own, with a log, ended by id."""
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from devlib import DevError  # noqa: E402

TOOLS = Path(__file__).resolve().parent


class Child:
    """`interactive`: standard input and output are pipes for lines ("ready", "stop")."""

    def __init__(self, name, command, log, *, interactive=False, env=None, cwd=None):
        self.name, self.log = name, log
        with open(log, "ab") as err:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.PIPE if interactive else subprocess.DEVNULL,
                stdout=subprocess.PIPE if interactive else err, stderr=err, env=env, cwd=cwd,
                start_new_session=True)
        self.buffer = b""
        self.lines = []

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def tail(self, size=1500):
        try:
            return Path(self.log).read_bytes()[-size:].decode(errors="replace")
        except OSError:
            return ""

    def poll_lines(self, seconds=0.0):
        """Reads what is there; new lines of an interactive child."""
        new = []
        while True:
            ready, _, _ = select.select([self.process.stdout], [], [], seconds)
            if not ready:
                break
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                break
            self.buffer += piece
            *whole, self.buffer = self.buffer.split(b"\n")
            new += [line.decode(errors="replace") for line in whole]
            seconds = 0.0
        self.lines += new
        return new

    def expect(self, word, seconds):
        """Waits for a line that begins with `word`."""
        deadline = time.monotonic() + seconds
        while True:
            for line in self.lines:
                if line.startswith(word):
                    return line
            if any(line.startswith("failed") for line in self.lines):
                raise DevError(f"{self.name}: {[x for x in self.lines if x.startswith('failed')][0]}\n{self.tail()}")
            left = deadline - time.monotonic()
            if left <= 0:
                raise DevError(f"{self.name} did not say '{word}' in {seconds:.0f} s\n{self.tail()}")
            if not self.poll_lines(min(left, 0.5)) and not self.alive():
                self.poll_lines()
                if not any(line.startswith(word) for line in self.lines):
                    raise DevError(f"{self.name} ended early (status {self.process.poll()})\n{self.tail()}")

    def ask_stop(self):
        try:
            self.process.stdin.write(b"stop\n")
            self.process.stdin.close()
        except (BrokenPipeError, ValueError):
            pass

    def wait(self, seconds):
        """Its exit status, or None when it did not end in time. Drains what it says meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.stdout:
                self.poll_lines(0.1)
            try:
                status = self.process.wait(0.05)
                if self.process.stdout:
                    self.poll_lines()
                return status
            except subprocess.TimeoutExpired:
                continue
        return None

    def stop(self, seconds=10):
        """SIGTERM, then SIGKILL to its group."""
        if self.alive():
            self.process.terminate()
            if self.wait(seconds) is None:
                self.kill()
        return self.process.poll()

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


def helper(name, script, arguments, log):
    """One of the demo's own Python processes; returns once it says that it is ready."""
    child = Child(name, ["/usr/bin/python3", "-B", TOOLS / script, *arguments], log, interactive=True)
    child.expect("ready", 40)
    return child


def wait_until(condition, seconds, what, every=0.05):
    """Polls a condition on the outside world; its value, or DevError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise DevError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(every)
