"""`connect` at a real terminal, as a person has it: alone, across a live upgrade, and while what
carries it is killed and replaced."""
import os
import re
import shutil
import signal
import sys
import unittest
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from live_site import ANSWER_S, COLUMNS, PROMPT, ROWS, LiveSite, Person, await_gone, monotonic_loop  # noqa: E402
from process import wait_until  # noqa: E402
import commands  # noqa: E402


class Shell(LiveSite):
    def connect(self, *more):
        person = Person(self, "connect", "desk-1", *more)
        person.await_text(PROMPT)
        return person

    def await_size(self, person, rows, columns):
        for _ in monotonic_loop(ANSWER_S):
            if person.ask("echo size=$(stty size)=", r"size=(\d+ \d+)=")[1] == f"{rows} {columns}":
                return

    def test_a_shell_is_as_a_local_one(self):
        person = self.connect()
        self.assertEqual(person.ask("echo term=$TERM=", r"term=(\w+)=")[1], "dumb")
        person.ask("tty >/dev/null && echo is''tty", "istty")
        person.await_text(PROMPT)  # What is typed earlier is shown again by the shell's own editor.
        person.ask("echo ec''hoed", r"echoed\r\n")
        self.assertEqual(person.everything.count("ec''hoed"), 1)  # Not by the terminal here as well.
        self.await_size(person, ROWS, COLUMNS)
        person.resize(51, 97)
        self.await_size(person, 51, 97)

        pid = int(person.ask("sh -c 'echo pid=$$=; exec sleep 1000'", r"pid=(\d+)=")[1])
        wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", 10, "sleep")
        person.type("\x03")
        await_gone(pid, "the interrupted sleep")
        self.assertEqual(person.ask("echo code=$?=", r"code=(\d+)=")[1], "130")

        person.await_text(PROMPT)
        person.type("\r~?")
        person.await_text(r"~\. ends the session")
        person.ask("~~''\x15echo ti''lde", "tilde")  # A tilde that is meant, taken back by Ctrl-U.
        person.type("exit 7\r")
        self.assertEqual(person.status(), 7)

    def test_ends_of_a_session_are_told_and_shown(self):
        killed = self.connect()
        killed.type("kill -9 $$\r")
        self.assertEqual(killed.status(), 128 + 9)

        escaped = self.connect()
        shell = int(escaped.ask("echo pid=$$=", r"pid=(\d+)=")[1])
        escaped.type("\r~.")
        self.assertEqual(escaped.status(), 255)
        await_gone(shell, "the shell after ~.")

        ended = self.connect()
        shell = int(ended.ask("echo pid=$$=", r"pid=(\d+)=")[1])
        session = self.look_at_the_only_session()
        self.stage.run(self.stage.cli("--yes", "session", "end", session, "--reason", "the audit begins"))
        ended.await_text(r"session has ended[^\n]*the audit begins")
        self.assertEqual(ended.status(), 255)
        await_gone(shell, "the shell of an ended session")
        self.await_no_sessions()
        row = next(row for row in self.rows("session", "list", "--all") if row["id"] == session)
        self.assertEqual((row["state"], row["reason"]), ("ended", "ended by admin: the audit begins"))

        gone = self.connect()  # The person's terminal goes away, as when its window is closed.
        shell = int(gone.ask("echo pid=$$=", r"pid=(\d+)=")[1])
        os.kill(gone.child(), signal.SIGHUP)
        self.assertEqual(gone.status(), 128 + signal.SIGHUP)
        await_gone(shell, "the shell after its console hung up")
        self.await_no_sessions()
        self.check_recordings(4)

    def look_at_the_only_session(self):
        """list, show and clients agree about it; its id."""
        rows = wait_until(lambda: [row for row in self.sessions() if row["legs"] == {"console": True, "agent": True}],
                          20, "one attached session", every=0.3)
        self.assertEqual(len(rows), 1, rows)
        session = rows[0]["id"]
        self.assertEqual((rows[0]["endpoint"], rows[0]["person"], rows[0]["state"]), ("desk-1", "admin", "live"))
        self.assertGreater(rows[0]["bytes_a2c"], 0)
        shown = self.stage.run(self.stage.cli("session", "show", session)).stdout
        self.assertIn(session, shown)
        self.assertIn("desk-1", shown)
        clients = self.rows("clients")
        self.assertEqual(sorted(row["name"] for row in clients if row["kind"] == "agent" and not row["session"]),
                         ["desk-1", "desk-2"])
        console = [row for row in clients if row["kind"] == "console"]
        self.assertEqual([(row["person"], row["endpoint"], row["session"]) for row in console],
                         [("admin", "desk-1", session)])
        table = self.stage.run(self.stage.cli("clients")).stdout
        self.assertIn("console", table)
        return session


class ShellThroughAnUpgrade(LiveSite):
    def test_a_person_types_on_while_everything_is_replaced(self):
        self.publish_next()
        person = Person(self, "connect", "desk-1")
        person.await_text(PROMPT)
        shell = person.ask("echo pid=$$=", r"pid=(\d+)=")[1]
        state = self.stage.folder / "state"
        other = Person(self, "connect", "desk-1", "--state-file", state)
        other.await_text(PROMPT)
        other_shell = other.ask("echo pid=$$=", r"pid=(\d+)=")[1]

        upgrade = self.start_upgrade()
        number = 0
        while upgrade.alive():
            number += 1
            self.answers(person, number)
        self.check_upgraded(upgrade)
        self.assertGreater(number, 10)
        self.assertGreaterEqual(self.moved(), 4)  # Both ends of both sessions.
        self.assertEqual(other.ask("echo pid=$$=", r"pid=(\d+)=")[1], other_shell)

        self.replace_agent()
        for number in range(number + 1, number + 6):
            self.answers(person, number)
        other = self.replace_console(other, state)
        self.assertEqual(other.ask("echo pid=$$=", r"pid=(\d+)=")[1], other_shell)
        self.assertEqual(other.ask("echo size=$(stty size)=", r"size=(\d+ \d+)=")[1], "30 90")
        other.type("exit 9\r")
        self.assertEqual(other.status(), 9)
        self.assertFalse(state.exists())

        self.assertEqual(person.ask("echo pid=$$=", r"pid=(\d+)=")[1], shell)
        person.type("exit 7\r")
        self.assertEqual(person.status(), 7)
        self.await_no_sessions()
        self.check_recordings(2)

    def answers(self, person, number):
        answer = person.ask(f"echo answer=$(({number} * 7 + 3))=", r"answer=(\d+)=")[1]
        self.assertEqual(int(answer), number * 7 + 3)

    def replace_agent(self):
        """kill -9, and another binary in its place; the hosts and their sessions stay."""
        old = self.stage.agents["desk-1"]
        old.process.kill()
        old.process.wait()
        copy = self.stage.folder / "other-agent"
        copy.mkdir()
        for name in ("everspan-agent", "everspan-session-host"):
            shutil.copy(self.stage.new.bin / name, copy / name)
        release = type(self.stage.new)(self.stage.new.version, None, copy)
        self.stage.agents["desk-1"] = commands_child(self.stage, release)

    def replace_console(self, other, state):
        """kill -9 of the CLI while a program talks; another one goes on, and nothing is missing or doubled."""
        other.type("i=0; while [ $i -lt 400 ]; do echo line=$i=; i=$((i+1)); sleep 0.01; done; echo all=$i=\r")
        other.await_text(r"(?s).*line=20=\r\n")[0]
        os.kill(other.child(), signal.SIGKILL)
        other.await_text(r"rc=137=")  # The terminal stays raw: a killed program puts nothing back.
        before = other.everything
        again = Person(self, "connect", "desk-1", "--state-file", state, "--resume", size=(30, 90))
        again.await_text(r"all=400=")
        lines = [int(word) for word in re.findall(r"line=(\d+)=", before + again.everything)]
        self.assertEqual(lines, list(range(400)))
        return again


def commands_child(stage, release):
    from process import Child
    return Child("desk-1", commands.agent_run(release, stage.folder / "agents/desk-1"), stage.logs / "desk-1.log",
                 env=stage.env)


if __name__ == "__main__":
    unittest.main()
