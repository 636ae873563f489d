"""A person at a real shell: runs `everspan connect NAME` on a terminal of its own, types commands
whose answers are numbered, and compares what comes back.

    person.py EVIDENCE_DIR INTERVAL_MS COMMAND...

Stopped in order it types `exit`, so that the shell's end comes back through the session.
"""
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

from worker import Lines, Stop, say

ANSWER_S = 30
ROWS, COLUMNS = 40, 132


class Terminal:
    def __init__(self, command):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "dumb"
            try:
                os.execvp(command[0], command)
            finally:
                os._exit(127)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.seen = ""

    def type(self, text):
        os.write(self.fd, text.encode())

    def read(self, seconds):
        """False at the end of the terminal."""
        ready, _, _ = select.select([self.fd], [], [], max(0, seconds))
        if not ready:
            return True
        try:
            piece = os.read(self.fd, 65536)
        except OSError:  # EIO: the other side of the terminal is closed.
            return False
        self.seen += piece.decode(errors="replace")
        return bool(piece)

    def expect(self, pattern, seconds):
        deadline = time.monotonic() + seconds
        while True:
            match = re.search(pattern, self.seen)
            if match:
                self.seen = self.seen[match.end():]
                return match
            if time.monotonic() > deadline or not self.read(min(0.5, deadline - time.monotonic())):
                return None


def main():
    folder, interval_ms, command = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
    stop, lines = Stop(), Lines(f"{folder}/person.jsonl")
    terminal = Terminal(command)
    with open(f"{folder}/person.typescript", "w", encoding="utf-8") as script:

        def ask(number):
            t_send = time.monotonic_ns()
            terminal.type(f"echo answer=$(({number} * 7 + 3))=\r")
            match = terminal.expect(r"answer=(\d+)=", ANSWER_S)
            t_answer = time.monotonic_ns() if match else None
            script.write(f"{number} {match[1] if match else 'no answer: ' + terminal.seen[-300:]}\n")
            lines.add(n=number, expected=str(number * 7 + 3), answer=match[1] if match else None, t_send=t_send,
                      t_answer=t_answer)
            return match is not None

        number = 0
        alive = ask(number)
        say("ready" if alive else f"failed: {terminal.seen[-500:]!r}")
        next_at = time.monotonic()
        while alive and not stop.wait(next_at - time.monotonic()):
            number += 1
            alive = ask(number)
            next_at = max(next_at + interval_ms / 1000, time.monotonic())
        if alive:
            terminal.type("exit\r")
        deadline = time.monotonic() + ANSWER_S
        while alive and time.monotonic() < deadline and terminal.read(0.5):
            pass
    os.close(terminal.fd)  # Whoever still sits at it gets a hang-up.
    _, status = os.waitpid(terminal.pid, 0)
    lines.add(event="ended", asked=alive, status=os.waitstatus_to_exitcode(status), t_ns=time.monotonic_ns())
    lines.flush()


main()
