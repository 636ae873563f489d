"""Releases that must not be installed: each is refused with a clear error, and what runs is untouched."""
import http.client
import os
import shutil
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from site_fixture import SiteTest  # noqa: E402
import commands  # noqa: E402
from https import ApiError, Client  # noqa: E402

ENDED = ("done", "rolled_back", "parked", "failed")


class RefusedPackages(SiteTest):
    agents = False
    cli = False
    seconds = 120

    def setUp(self):
        super().setUp()
        self.site = self.stage.client()
        self.appliance = Client(self.stage.address, self.stage.ca_file)
        self.appliance.login("admin", self.stage.password_file.read_text().strip(), "appliance")
        self.appliance.call("PUT", "/api/v1/appliance/updates/source", {"url": f"http://{self.stage.depot_address}"})
        self.before = self.running()

    def running(self):
        about = self.site.call("GET", "/api/v1/about")
        return about["version"], about["release_digest"]

    def refresh(self):
        return self.appliance.call("POST", "/api/v1/appliance/updates/refresh", {})

    def repository(self):
        return self.stage.depot_data / "repository"

    def package_in_depot(self):
        found = [path for path in self.repository().rglob("*") if path.is_file() and self.stage.new.version in path.name]
        self.assertEqual(len(found), 1, found)
        return found[0]

    def apply(self, seconds=60):
        """The end of an upgrade to the new release: the API's error, or the plan's."""
        try:
            self.site.call("POST", "/api/v1/upgrade/apply",
                           {"to": self.stage.new.version, "soak_s": 1, "auto_finalize": True})
        except ApiError as error:
            return error.code, str(error)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                answer = self.site.call("GET", "/api/v1/upgrade")
            except (OSError, http.client.HTTPException):
                continue
            if answer["state"] in ENDED:
                return answer["state"], f"{answer.get('why_code')}: {answer.get('why')}"
            time.sleep(0.1)
        return "no end", str(answer)

    def assert_untouched(self):
        self.assertEqual(self.running(), self.before)
        slots = self.site.call("GET", "/api/v1/status")["slots"]
        self.assertEqual([slot["role"] for slot in slots], ["active"], slots)
        self.site.call("PUT", "/api/v1/settings/site.note.after", {"value": "still writes"})

    def assert_refused(self, *words):
        state, why = self.apply()
        print(f"refused with: {state}: {why}")
        self.assertNotIn(state, ("done", "no end"), why)
        self.assertTrue(any(word in f"{state} {why}".lower() for word in words), f"{state}: {why}")
        self.assert_untouched()

    def test_the_same_release_untampered_is_installed(self):
        """The control: without it, every refusal below could be for another reason."""
        self.stage.publish(self.stage.new, self.stage.new.bin)
        self.refresh()
        state, why = self.apply()
        self.assertEqual(state, "done", why)
        self.site = self.stage.client()
        self.assertEqual(self.running()[0], self.stage.new.version)

    def test_a_tampered_package(self):
        self.stage.publish(self.stage.new, self.stage.new.bin)
        self.refresh()
        path = self.package_in_depot()
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        self.assert_refused("hash", "malformed", "package")

    def test_a_truncated_download(self):
        self.stage.publish(self.stage.new, self.stage.new.bin)
        self.refresh()
        path = self.package_in_depot()
        path.write_bytes(path.read_bytes()[:100_000])
        self.assert_refused("hash", "size", "length", "short", "truncated", "malformed")

    def test_metadata_signed_by_a_strange_key(self):
        strange = self.stage.folder / "strange"
        self.stage.run(commands.depot_init(self.stage.new, strange))
        package = self.stage.publish(self.stage.new, self.stage.new.bin)
        self.stage.run(commands.depot_publish(self.stage.new, strange, package))
        shutil.rmtree(self.repository())
        shutil.copytree(strange / "repository", self.repository())
        with self.assertRaises(ApiError) as caught:
            self.refresh()
        print(f"refused with: {caught.exception}")
        self.assertRegex(caught.exception.code, "signature|key|rollback|root|metadata")
        self.assert_refused("signature", "key", "unknown", "release")

    def test_metadata_older_than_what_was_seen(self):
        older = self.stage.folder / "older"
        shutil.copytree(self.repository(), older)
        self.stage.publish(self.stage.new, self.stage.new.bin)
        newest = self.refresh()
        self.assertIn(self.stage.new.version, [row["version"] for row in newest["releases"]])
        shutil.rmtree(self.repository())
        shutil.copytree(older, self.repository())
        with self.assertRaises(ApiError) as caught:
            self.refresh()
        print(f"refused with: {caught.exception}")
        self.assertRegex(str(caught.exception).lower(), "rollback|older")
        self.assert_untouched()

    def test_a_release_for_another_platform(self):
        package = self.stage.folder / "packages/other.package"
        build = [*commands.depot_build(self.stage.new, self.stage.new.version, self.stage.new.bin, package)]
        self.stage.run(build[:2] + ["--platform", "linux-riscv64"] + build[2:], seconds=120)
        self.stage.run(commands.depot_publish(self.stage.new, self.stage.depot_data, package))
        self.refresh()
        self.assert_refused("platform")


if __name__ == "__main__":
    unittest.main()
