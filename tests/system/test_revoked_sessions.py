"""A person who is disabled, removed or loses the right to have sessions is out of those that run: his console
ends with a clear word, what ran there is hung up, and nobody else notices. Also when the process that should
end them is killed in between, and when a release that does not know how was the one that disabled him."""
import json
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kill_table import Failpoints  # noqa: E402
from live_site import PROMPT, LiveSite, Person, await_gone  # noqa: E402
from process import Child, wait_until  # noqa: E402
import commands  # noqa: E402

ENDS_WITHIN_S = 5
PASSWORD = "a password of bob's"


class Revoked(LiveSite):
    within = True

    def setUp(self):
        super().setUp()
        self.secret = self.stage.folder / "bob.password"
        with open(os.open(self.secret, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write(PASSWORD + "\n")
        self.admin = self.stage.cli
        self.bob = commands.Cli(self.admin.program, self.stage.address, "bob")
        self.user("add", "bob", "--scope", "sessions", "--password-file", self.secret)
        self.log_in()

    def user(self, *words):
        return json.loads(self.stage.run(self.admin("--yes", "user", *words, json=True)).stdout)

    def log_in(self):
        self.stage.run(self.bob("login", "--ca", self.stage.ca_file, "--password-file", self.secret, "bob"))

    def shell_of(self, cli):
        """(a person in a shell, its pid there)"""
        self.stage.cli = cli
        person = Person(self, "connect", "desk-1")
        self.stage.cli = self.admin
        person.await_text(PROMPT)
        return person, int(person.ask("echo pid=$$=", r"pid=(\d+)=")[1])

    def ended_of_bob(self):
        return [row for row in self.rows("session", "list", "--all")
                if row["person"] == "bob" and row["state"] == "ended"]

    def revoked_lines(self):
        """[(session, reason)] of the journal, in its order."""
        entries = self.stage.client().call("GET", "/api/v1/journal?limit=1000")["entries"]
        return [(entry["subject"], entry["detail"]["reason"]) for entry in entries
                if entry["what"] == "session.revoked"]

    def await_end(self, person, shell, reason):
        began = time.monotonic()
        person.await_text(rf"session has ended \(ended\): {reason}")
        self.assertEqual(person.status(), 255)
        await_gone(shell, "the shell")
        return time.monotonic() - began


class WhoMayNotGoesOut(Revoked):
    def test_his_sessions_end_and_nobody_elses(self):
        mine, my_shell = self.shell_of(self.admin)
        his, shell = self.shell_of(self.bob)
        command = Child("a command", self.bob("connect", "desk-1", "-T", "--", "sh", "-c", "echo pid=$$; sleep 1000"),
                        self.stage.logs / "command.log", env=self.stage.env)
        below = int(wait_until(lambda: "pid=" in command.tail() and command.tail().split("pid=")[1].split()[0], 20,
                               "the command to run"))

        self.user("disable", "bob")
        seconds = self.await_end(his, shell, "the account was disabled")
        self.assertLess(seconds, ENDS_WITHIN_S)
        self.assertEqual(command.wait(ENDS_WITHIN_S), 255)
        self.assertIn("the account was disabled", command.tail())
        await_gone(below, "the command")
        rows = self.ended_of_bob()
        self.assertEqual({row["reason"] for row in rows}, {"the account was disabled"})
        self.assertEqual(sorted(self.revoked_lines()), sorted((row["id"], row["reason"]) for row in rows))
        self.assertEqual(len(rows), 2)

        # The one next to him noticed nothing.
        self.assertEqual(int(mine.ask("echo pid=$$=", r"pid=(\d+)=")[1]), my_shell)

        # Enabled again he begins anew; without the right, and without his account, he is out again.
        for words, reason in ((("grant", "bob", "sessions", "--take-away"), "the right to have sessions was taken away"),
                              (("remove", "bob", "--confirm", "bob"), "the account was removed")):
            self.user("enable", "bob")
            self.user("grant", "bob", "sessions")
            self.log_in()
            his, shell = self.shell_of(self.bob)
            self.user(*words)
            self.assertLess(self.await_end(his, shell, reason), ENDS_WITHIN_S)
        self.assertEqual(len(self.revoked_lines()), 4, "each session once")

        self.assertEqual(int(mine.ask("echo pid=$$=", r"pid=(\d+)=")[1]), my_shell)
        mine.type("exit 7\r")
        self.assertEqual(mine.status(), 7)
        self.check_recordings(5)


class WhoShouldEndThemIsKilled(Revoked):
    def before_site(self):
        self.failpoints = Failpoints(self.stage, ["sessions.before_revoke"])

    def test_the_one_after_him_ends_them_once(self):
        mine, my_shell = self.shell_of(self.admin)
        his, shell = self.shell_of(self.bob)
        self.failpoints.strike_at(1)
        self.user("disable", "bob")
        wait_until(self.failpoints.struck, 10, "the process to be killed before it ended them")
        # Also a console whose leg went with the process, and which is refused when it dials again.
        self.await_end(his, shell, "the account was disabled")
        self.assertEqual([reason for _, reason in self.revoked_lines()], ["the account was disabled"])
        self.assertEqual(len(self.ended_of_bob()), 1)
        self.assertEqual(int(mine.ask("echo pid=$$=", r"pid=(\d+)=")[1]), my_shell)
        mine.type("exit 7\r")
        self.assertEqual(mine.status(), 7)


class TheReleaseBefore(Revoked):
    within = False  # From the pinned release, below the level at which revocations are stored.

    def test_it_ends_them_as_well_and_the_next_release_does_not_do_so_again(self):
        self.publish_next()
        mine, my_shell = self.shell_of(self.admin)
        his, shell = self.shell_of(self.bob)
        self.user("disable", "bob")
        self.await_end(his, shell, "the account was disabled")
        self.check_upgraded(self.start_upgrade())
        self.assertEqual(len(self.revoked_lines()), 1)
        self.assertEqual(int(mine.ask("echo pid=$$=", r"pid=(\d+)=")[1]), my_shell)
        mine.type("exit 7\r")
        self.assertEqual(mine.status(), 7)


if __name__ == "__main__":
    unittest.main()
