"""Users of the site and accounts of an appliance, as an administrator has them on the command line: passwords by
a terminal or a file, clear ends, and a disabled person is out at once."""
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from live_site import LiveSite, Person  # noqa: E402
import commands  # noqa: E402

PASSWORD = "a password of bob's"
TYPED = "typed at a terminal"


class Accounts(LiveSite):
    within = True
    seconds = 200

    def setUp(self):
        super().setUp()
        self.secret = self.stage.folder / "bob.password"
        self.write_secret(self.secret, PASSWORD)
        self.bob = commands.Cli(self.stage.cli.program, self.stage.address, "bob")

    @staticmethod
    def write_secret(path, text):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(text + "\n")

    def user(self, *words, status=0, cli=None):
        done = self.stage.run((cli or self.stage.cli)("--yes", "user", *words, json=True), check=False)
        self.assertEqual(done.returncode, status, f"{words}: {done.stdout}{done.stderr}")
        return json.loads(done.stdout if status == 0 else done.stderr)

    def log_in(self, account, secret, cli, status=0, area="site"):
        done = self.stage.run(cli("login", "--ca", self.stage.ca_file, "--area", area, "--password-file", secret,
                                  account), check=False)
        self.assertEqual(done.returncode, status, done.stderr)

    def as_bob(self, *words, status=0):
        done = self.stage.run(self.bob(*words), check=False)
        self.assertEqual(done.returncode, status, f"{words}: {done.stdout}{done.stderr}")
        return done.stdout


class Users(Accounts):
    def test_a_user_from_his_first_day_to_his_last(self):
        added = self.user("add", "bob", "--scope", "sessions", "--password-file", self.secret)
        self.assertEqual((added["name"], added["scopes"]), ("bob", ["sessions"]))
        self.assertEqual(self.user("add", "bob", "--password-file", self.secret, status=5)["error"]["code"], "conflict")
        self.log_in("bob", self.secret, self.bob)
        self.assertEqual(self.as_bob("connect", "desk-1", "-T", "--", "echo", "hello"), "hello\n")
        self.as_bob("settings", "list", status=3)
        self.user("list", status=3, cli=self.bob)

        self.user("grant", "bob", "settings", "users")
        self.as_bob("settings", "list")
        # He may administer users now, but nobody who has more than he has, and give no more than that.
        self.assertEqual(self.user("disable", "admin", status=3, cli=self.bob)["error"]["code"], "forbidden")
        self.user("grant", "bob", "upgrade", status=3, cli=self.bob)
        self.user("grant", "bob", "settings", "--take-away")
        self.as_bob("settings", "list", status=3)

        # The last administrator stays.
        error = self.user("disable", "admin", status=3)["error"]
        self.assertEqual(error["code"], "refused")
        self.assertTrue(error["kept"] and error["next"], error)
        self.user("remove", "admin", "--confirm", "admin", status=3)

        self.user("disable", "bob")
        self.as_bob("connect", "desk-1", "-T", "--", "true", status=255)
        self.log_in("bob", self.secret, self.bob, status=3)
        self.user("enable", "bob")
        self.as_bob("connect", "desk-1", "-T", "--", "true", status=255)  # The log-in of before stays ended.
        self.log_in("bob", self.secret, self.bob)

        # His own password, typed: the old one, then the new one twice.
        self.own_password()
        rows = {row["name"]: row for row in self.user("list")["users"]}
        self.assertEqual(sorted(rows), ["admin", "bob"])
        self.assertTrue(rows["admin"]["administrator"])

        self.user("remove", "bob", "--confirm", "bob")
        self.user("show", "bob", status=1)
        self.log_in("bob", self.secret, self.bob, status=3)
        self.journalled()

    def own_password(self):
        cli, self.stage.cli = self.stage.cli, self.bob
        person = Person(self, "user", "passwd")
        self.stage.cli = cli
        person.await_text("Old password of bob: ")
        person.type(PASSWORD + "\r")
        for question in ("New password for bob: ", "Again: "):
            person.await_text(question)
            person.type(TYPED + "\r")
        self.assertEqual(person.status(), 0)
        self.assertNotIn(TYPED, person.everything, "it was shown")
        self.log_in("bob", self.secret, self.bob, status=3)
        self.write_secret(self.secret, TYPED)
        self.log_in("bob", self.secret, self.bob)

    def journalled(self):
        entries = self.stage.client().call("GET", "/api/v1/journal?limit=1000")["entries"]
        words = [entry["what"] for entry in entries if entry["subject"] == "site/bob"]
        for what in ("user.added", "user.scopes_changed", "user.disabled", "user.enabled", "user.own_password_set",
                     "user.removed"):
            self.assertIn(what, words)
        refused = [entry["detail"]["call"] for entry in entries
                   if entry["what"] == "access.refused" and entry["who"] == "site/bob"]
        self.assertEqual(refused, ["user.disabled", "user.scopes_changed"])
        self.assertNotIn(PASSWORD, json.dumps(entries))
        self.assertNotIn(TYPED, json.dumps(entries))


class AccountsOfTheAppliance(Accounts):
    agents = False

    def account(self, *words, **more):
        return self.user("--appliance", *words, **more)

    def test_an_account_from_its_first_day_to_its_last(self):
        rows = self.account("list")["users"]
        self.assertEqual([(row["name"], row["administrator"]) for row in rows], [("admin", True)])
        added = self.account("add", "bob", "--scope", "updates", "--password-file", self.secret)
        self.assertEqual((added["name"], added["scopes"]), ("bob", ["updates"]))
        self.account("add", "eve", "--scope", "sessions", "--password-file", self.secret, status=2)
        self.log_in("bob", self.secret, self.bob, status=3)  # Nobody at the site.
        self.log_in("bob", self.secret, self.bob, area="appliance")
        self.as_bob("updates", "list")
        self.account("list", status=3, cli=self.bob)
        self.user("list", status=3, cli=self.bob)

        self.account("grant", "bob", "node")
        self.account("list", cli=self.bob)
        self.assertEqual(self.account("disable", "admin", status=3, cli=self.bob)["error"]["code"], "forbidden")
        error = self.account("disable", "admin", status=3)["error"]
        self.assertEqual(error["code"], "refused")
        self.assertIn("user grant NAME --administrator --appliance", error["next"])

        typed = self.stage.folder / "typed.password"
        self.write_secret(typed, TYPED)
        self.account("passwd", "--old-password-file", self.secret, "--password-file", typed, cli=self.bob)
        self.as_bob("updates", "list", status=3)  # His log-ins have ended, this one too.
        self.log_in("bob", self.secret, self.bob, status=3, area="appliance")
        self.log_in("bob", typed, self.bob, area="appliance")
        self.account("disable", "bob")
        self.as_bob("updates", "list", status=3)
        self.log_in("bob", typed, self.bob, status=3, area="appliance")
        self.account("enable", "bob")
        self.log_in("bob", typed, self.bob, area="appliance")
        self.account("remove", "bob", "--confirm", "bob")
        self.as_bob("updates", "list", status=3)
        self.account("show", "bob", status=1)

        entries = self.stage.client().call("GET", "/api/v1/journal?limit=1000")["entries"]
        words = [entry["what"] for entry in entries if entry["subject"] == "appliance/bob"]
        for what in ("user.added", "user.scopes_changed", "user.own_password_set", "user.disabled", "user.enabled",
                     "user.removed"):
            self.assertIn(what, words)
        self.assertNotIn(TYPED, json.dumps(entries))


if __name__ == "__main__":
    unittest.main()
