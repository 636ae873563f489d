"""Grants that must not open a session, things of another site, and a disk that is full while a
release is staged. Each is refused with a clear code, and what runs goes on. (What has expired is in
the unit tests of src/access, src/agent and src/site: here it would be minutes of waiting.)"""
import http.client
import os
import re
import resource
import shutil
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from grant_proxy import GrantProxy, decode  # noqa: E402
from site_fixture import SiteTest, make_stage  # noqa: E402
import commands  # noqa: E402
from https import ApiError, Client  # noqa: E402
from process import wait_until  # noqa: E402

PUBLIC_KEY = "A" * 43  # 32 zero bytes, base64url


def flipped(grant, at):
    data = bytearray(grant)
    data[at] ^= 1
    return bytes(data)


class Grants(SiteTest):
    seconds = 90

    def setUp(self):
        super().setUp()
        host = f"127.77.{self.stage.instance}.3"
        self.proxy = GrantProxy(self.stage.folder, host, self.stage.address, self.stage.ca_file)
        self.addCleanup(self.proxy.close)
        self.forged = commands.Cli(self.stage.old.bin / "everspan", self.proxy.address, "forged")
        self.stage.run(commands.login(self.forged, self.proxy.ca_file, self.stage.password_file, "site"))

    def connect(self, change, cli=None, text="hello"):
        self.proxy.change = change
        words = (cli or self.forged)("connect", "desk-1", "-T", "--", "/bin/echo", text)
        return self.stage.run(words, check=False, seconds=40)

    def refused(self, change, *codes):
        done = self.connect(change)
        print(f"refused with {done.returncode}: {done.stderr.strip()}")
        self.assertEqual(done.returncode, 255, done.stdout)
        self.assertEqual(done.stdout, "")
        self.assertRegex(done.stderr, "|".join(codes))

    def journal(self, what):
        entries = self.stage.client().call("GET", "/api/v1/journal?limit=500")["entries"]
        return [entry for entry in entries if entry["what"] == what]

    def assert_still_serves(self):
        done = self.connect(lambda grant: grant)
        self.assertEqual((done.returncode, done.stdout), (0, "hello\n"), done.stderr)


class RefusedGrants(Grants):
    def test_the_same_grant_unchanged_opens_a_session(self):
        """The control: without it, every refusal below could be for another reason."""
        self.assert_still_serves()

    def test_a_grant_with_a_changed_signature(self):
        # SignedGrant: grant, signature (64 bytes), key id (16): the signature ends 18 bytes before the end.
        self.refused(lambda grant: flipped(grant, -20), "bad_grant")
        wait_until(lambda: self.journal("session.refused") or None, 10, "the journal to show it")
        self.assert_still_serves()

    def test_a_grant_with_changed_claims(self):
        self.refused(lambda grant: flipped(grant, 20), "bad_grant")
        self.assert_still_serves()

    def test_a_grant_of_an_unknown_key(self):
        self.refused(lambda grant: flipped(grant, -1), "bad_grant")
        self.assert_still_serves()

    def test_a_stolen_grant_is_of_no_use_without_the_key_of_its_console(self):
        self.assert_still_serves()
        stolen = self.proxy.seen[-1]
        self.refused(lambda grant: stolen, "bad_proof|bad_grant|proof|not_yours|ended")
        self.assert_still_serves()


class OtherSite(Grants):
    def test_tokens_and_grants_of_another_site(self):
        other = make_stage()
        self.addCleanup(shutil.rmtree, other.folder, True)
        self.addCleanup(other.tear_down)
        other.start_depot()
        other.start_site()
        other.start_agents()
        theirs, ours = other.client(), Client(self.stage.address, self.stage.ca_file)
        ours.token = theirs.token
        with self.assertRaises(ApiError) as caught:
            ours.call("GET", "/api/v1/settings")
        self.assertEqual(caught.exception.status, 401)
        ours.token = None
        token = theirs.call("POST", "/api/v1/enrol-tokens", {})["token"]
        body = {"token": token, "name": "stranger", "public_key": PUBLIC_KEY, "platform": "linux", "release": "0.1.0"}
        with self.assertRaises(ApiError) as caught:
            ours.call("POST", "/api/v1/enrol", body)
        self.assertEqual((caught.exception.status, caught.exception.code), (400, "bad_token"))
        theirs.call("POST", "/api/v1/enrol", body)  # It is good where it comes from.
        grant = theirs.call("POST", "/api/v1/sessions", {"endpoint": "desk-1", "console_key": PUBLIC_KEY,
                                                         "rights": ["exec"]})["grant"]
        self.refused(lambda _: decode(grant), "bad_grant|other_site|wrong_site")
        self.assert_still_serves()


class FullDisk(SiteTest):
    agents = False
    seconds = 90

    def limit_files(self, size):
        """No file of base, and of what it starts from now on, may grow beyond `size`: its disk is full."""
        resource.prlimit(self.stage.base.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def setUp(self):
        super().setUp()
        self.site = self.stage.client()
        self.stage.publish(self.stage.new, self.stage.new.bin)
        self.stage.run(commands.refresh(self.stage.cli))

    def apply(self):
        self.site.call("POST", "/api/v1/upgrade/apply", {"to": self.stage.new.version, "soak_s": 1,
                                                         "auto_finalize": True})

        def ended():
            try:
                answer = self.site.call("GET", "/api/v1/upgrade")
            except (OSError, http.client.HTTPException):
                return None
            return answer if answer["state"] in ("done", "rolled_back", "parked", "failed") else None

        return wait_until(ended, 40, "the upgrade to end", every=0.1)

    def test_while_a_release_is_staged_costs_nothing_and_is_got_over(self):
        before = self.site.call("GET", "/api/v1/about")["release_digest"]
        largest = max(path.stat().st_size for path in self.stage.new.bin.iterdir())
        self.limit_files(largest // 2)
        answer = self.apply()
        print(f"{answer['state']}: {answer.get('why')}")
        self.assertNotEqual(answer["state"], "done")
        self.assertRegex(str(answer), "disk_full")
        about = self.site.call("GET", "/api/v1/about")
        self.assertEqual(about["release_digest"], before)
        self.site.call("PUT", "/api/v1/settings/site.note.after", {"value": "still writes"})
        releases = [name for name in os.listdir(self.stage.folder / "a/releases") if re.fullmatch("[0-9a-f]{64}", name)]
        self.assertEqual(len(releases), 1, "what was staged in part is left")
        self.limit_files(resource.RLIM_INFINITY)
        answer = self.apply()
        self.assertEqual(answer["state"], "done", answer)


if __name__ == "__main__":
    unittest.main()
