"""What the tests of connect and tunnel share: a person at a terminal, an upgrade that runs meanwhile,
and the look at sessions and recordings afterwards."""
import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import struct
import sys
import termios
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from site_fixture import ROOT, SiteTest  # noqa: E402
from process import Child, wait_until  # noqa: E402
import commands  # noqa: E402

ANSWER_S = 25
UPGRADE_S = 60
ROWS, COLUMNS = 40, 132
# What a shell may show before it reads: its prompt, perhaps with switches of the terminal around it.
PROMPT = r"[$#%>] (\x1b\[[?0-9;]*[a-z])*$"
SAVED_MODES = r"((?:[0-9a-f]+:){5,}[0-9a-f]+)\r?\n"


class Person:
    """`everspan WORDS` typed at a shell on a terminal of its own, which says the terminal's modes before
    and after it, and its exit status."""

    def __init__(self, test, *words, size=(ROWS, COLUMNS)):
        self.test, self.seen, self.everything = test, "", ""
        line = shlex.join(str(word) for word in test.stage.cli(*words))
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
                os.execvpe("sh", ["sh", "-c", f'stty -g; {line}; echo "rc=$?="; stty -g'],
                           dict(test.stage.env, TERM="dumb"))
            finally:
                os._exit(127)
        test.addCleanup(self.clean)
        self.modes = self.await_text(SAVED_MODES)[1]

    def type(self, text):
        os.write(self.fd, text.encode())

    def read(self, seconds):
        """False at the end of the terminal."""
        if not select.select([self.fd], [], [], max(0, seconds))[0]:
            return True
        try:
            piece = os.read(self.fd, 65536).decode(errors="replace")
        except OSError:  # EIO: the other side of the terminal is closed.
            return False
        self.seen += piece
        self.everything += piece
        return bool(piece)

    def await_text(self, pattern, seconds=ANSWER_S):
        """Waits for it; what was shown up to its end counts as read."""
        deadline = time.monotonic() + seconds
        while True:
            match = re.search(pattern, self.seen)
            if match:
                self.seen = self.seen[match.end():]
                return match
            left = deadline - time.monotonic()
            if left <= 0 or not self.read(left):
                self.test.fail(f"no {pattern!r} in {self.seen[-600:]!r}")

    def ask(self, command, pattern):
        """Types a command; `pattern` must not be in its echo."""
        self.type(command + "\r")
        return self.await_text(pattern)

    def child(self):
        """The CLI's own process."""
        with open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="ascii") as file:
            return int(file.read().split()[0])

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def status(self):
        """The exit status; the terminal must be as it was."""
        status = int(self.await_text(r"rc=(\d+)=")[1])
        self.test.assertEqual(self.await_text(SAVED_MODES)[1], self.modes, "the terminal was not put back")
        return status

    def clean(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.close(self.fd)
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass


class LiveSite(SiteTest):
    """A site with agents whose next release is in the depot."""

    seconds = 120

    # ---- the site's word ----
    def rows(self, *words):
        answer = json.loads(self.stage.run(self.stage.cli(*words, json=True)).stdout)
        return answer[{"session": "sessions", "recording": "recordings"}.get(words[0], words[0])]

    def sessions(self):
        return self.rows("session", "list")

    def await_no_sessions(self):
        wait_until(lambda: not self.sessions(), 20, "every session to have ended", every=0.3)

    def check_recordings(self, at_least):
        """Every recording is whole, as the CLI says it."""
        rows = self.rows("recording", "list")
        self.assertGreaterEqual(len(rows), at_least)
        for row in rows:
            done = self.stage.run(self.stage.cli("recording", "verify", row["session"], json=True), check=False)
            self.assertEqual(done.returncode, 0, f"{row}: {done.stdout}{done.stderr}")
            self.assertEqual(json.loads(done.stdout)["gaps"], [])

    # ---- the upgrade ----
    def publish_next(self):
        self.stage.publish(self.stage.new, self.stage.new.bin)
        self.stage.run(commands.refresh(self.stage.cli))

    def start_upgrade(self):
        return Child("upgrade apply", commands.apply(self.stage.cli, self.stage.new.version, 1),
                     self.stage.logs / "upgrade.log", env=self.stage.env)

    def check_upgraded(self, upgrade):
        self.assertEqual(upgrade.wait(UPGRADE_S), 0, upgrade.tail())
        done = self.stage.run(self.stage.cli("upgrade", "status", json=True))
        self.assertEqual(json.loads(done.stdout)["state"], "done", done.stdout)
        self.assertEqual(json.loads(self.stage.run(self.stage.cli("about", json=True)).stdout)["version"],
                         self.stage.new.version)

    def moved(self):
        return json.loads(self.stage.run(self.stage.cli("upgrade", "status", json=True)).stdout)["sessions_moved"]


def is_running(pid):
    """Not gone, and not only waiting to be waited for."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return re.sub(r".*\) ", "", file.read())[0] not in "ZX"
    except OSError:
        return False


def await_gone(pid, what, seconds=20):
    wait_until(lambda: not is_running(pid), seconds, f"{what} ({pid}) to have ended")


def monotonic_loop(seconds):
    """Yields until the time is up; then fails, so a loop over it never ends quietly."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
    raise AssertionError(f"not done after {seconds} s")
