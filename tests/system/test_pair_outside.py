"""What people see of two appliances: the backup's answers, the CLI that finds the right node, and the way back
when one is gone. With a client that shares no code with the product where the answer itself matters."""
import json
import signal
import subprocess
import sys
import unittest
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pair_fixture import PairTest  # noqa: E402
from https import ApiError, Client, context  # noqa: E402
from process import wait_until  # noqa: E402


class PairOutside(PairTest):
    def named_by_profile(self, *words, check=True, seconds=60):
        """The CLI as a person uses it: the profile knows the site."""
        return self.stage.run([self.stage.cli.program, "--profile", "demo", *words], check=check, seconds=seconds)

    def ready(self, address):
        try:
            with urllib.request.urlopen(f"https://{address}/readyz", context=context(self.stage.ca_file),
                                        timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def logged_in_at(self, address):
        client = Client(address, self.stage.ca_file)
        client.token = self.stage.client().token
        return client

    def test_a_backup_serves_reads_and_names_the_primary_for_the_rest(self):
        a, b = self.stage.address, self.stage.address_b
        self.assertEqual(self.ready(a)[0], 200)
        status, body = self.ready(b)
        self.assertEqual((status, body["role"], body["primary"]), (503, "backup", a))
        client = self.logged_in_at(b)
        wait_until(lambda: client.call("GET", "/api/v1/status")["node_role"] == "backup", 5, "the log-in at B")
        seen = client.call("GET", "/api/v1/status")
        self.assertEqual(seen["peer"]["address"], a)
        self.assertEqual({node["address"] for node in seen["nodes"]}, {a, b})
        with self.assertRaises(ApiError) as refused:
            client.call("PUT", "/api/v1/settings/site.banner", {"value": "x"})
        self.assertEqual((refused.exception.status, refused.exception.code), (409, "not_primary"))

    def test_the_cli_goes_to_the_primary_and_says_so(self):
        a, b = self.stage.address, self.stage.address_b
        done = self.cli_at(b, "settings", "put", "site.banner", "by way of B")
        self.assertIn(a, done.stderr)
        self.assertEqual(self.get("site.banner"), "by way of B")
        # What is for one node is taken to no other.
        done = self.cli_at(b, "--yes", "failover", "establish", "--backup", a, "--reverse", b, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(self.stage.failover_status()["role"], "primary")

    def test_the_backups_appliance_is_administered_by_the_same_people(self):
        at_b = [self.stage.cli.program, "--site", self.stage.address_b, "--profile", "b"]
        self.stage.run([*at_b, "login", "--area", "appliance", "--ca", self.stage.ca_file, "--password-file",
                        self.stage.password_file, "admin"])
        shown = self.stage.run([*at_b, "--json", "failover", "key", "show"])
        self.assertFalse(json.loads(shown.stdout)["present"], "the key was spent by establishing")
        made = self.stage.run([*at_b, "--json", "failover", "key", "create", "--out", self.stage.folder / "b.key"])
        self.assertNotIn("key", json.loads(made.stdout))
        self.assertEqual((self.stage.folder / "b.key").stat().st_mode & 0o777, 0o600)

    def test_a_person_finds_the_way_when_the_primary_is_gone(self):
        a, b = self.stage.address, self.stage.address_b
        self.put("site.banner", "acknowledged by both")
        self.named_by_profile("failover", "status")  # The profile learns both nodes.
        self.stage.signal_node("a", signal.SIGKILL)
        done = self.named_by_profile("--json", "failover", "status")
        self.assertEqual(json.loads(done.stdout)["role"], "backup", "the other node is asked")
        self.assertIn("does not answer", done.stderr)
        done = self.named_by_profile("settings", "put", "site.banner", "nobody takes it", check=False)
        self.assertEqual(done.returncode, 4, done.stderr)
        # A new log-in at B works though nothing can be stored, and the person decides.
        wait_until(lambda: not self.stage.failover_status(b)["peer"]["connected"], 20, "B to see that A is gone")
        self.stage.run([self.stage.cli.program, "--site", b, "--profile", "night", "login", "--ca", self.stage.ca_file,
                        "--password-file", self.stage.password_file, "admin"])
        night = [self.stage.cli.program, "--site", b, "--profile", "night", "--json"]
        yes = self.stage.run([*night, "--yes", "failover", "become-primary"], check=False)
        self.assertIn(yes.returncode, (3, 4, 5), "not without saying that the other is unreachable")
        done = self.stage.run([*night, "--yes", "--confirm", "become-primary", "failover", "become-primary",
                               "--even-if-unreachable"])
        self.assertEqual(json.loads(done.stdout)["role"], "primary")
        self.assertRegex(done.stderr, "lost")
        self.assertEqual(self.get("site.banner", b), "acknowledged by both")
        wait_until(lambda: self.cli_at(b, "settings", "put", "site.banner", "B alone", check=False).returncode == 0, 20,
                   "B to take writes")
        self.assertEqual(self.ready(b)[0], 200)


class PairVia(PairTest):
    agents = True
    sessions = 1

    def test_a_console_that_would_be_on_another_node_than_the_agent_is_refused(self):
        a, b = self.stage.address, self.stage.address_b
        name = json.loads(self.cli_at(None, "endpoint", "list").stdout)["endpoints"][0]["name"]
        for via, status in (("backup", 255), (b, 255), (a, 0)):
            done = self.stage.run([*self.stage.cli("connect"), "--via", via, "-T", name, "--", "echo", "through"],
                                  check=False)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn("through" if status == 0 else "different nodes", done.stdout + done.stderr)
        done = self.stage.run([*self.stage.cli("connect"), "--via", "moon", "-T", name, "--", "true"], check=False)
        self.assertEqual(done.returncode, 255)
        self.assertIn(b, done.stderr, "it says which nodes there are")


if __name__ == "__main__":
    unittest.main()
