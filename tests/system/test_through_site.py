"""Commands through a site (`connect -T`): bytes, ends, exit status, errors, and across an upgrade."""
import hashlib
import http.client
import os
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from site_fixture import SiteTest  # noqa: E402
import commands  # noqa: E402
from https import ApiError  # noqa: E402

ENDED = ("done", "rolled_back", "parked", "failed")


class ThroughSite(SiteTest):
    seconds = 120

    def cli(self, *words):
        return [str(word) for word in self.stage.cli(*words)]

    def run_remote(self, *command, data=b"", seconds=40):
        return subprocess.run(self.cli("connect", "desk-1", "-T", "--", *command), input=data, capture_output=True,
                              timeout=seconds, env=self.stage.env)

    def upgrade(self, seconds=60):
        """Upgrades the site; its last state."""
        self.stage.publish(self.stage.new, self.stage.new.bin)
        self.stage.run(commands.refresh(self.stage.cli))
        client = self.stage.client()
        client.call("POST", "/api/v1/upgrade/apply",
                    {"to": self.stage.new.version, "soak_s": 2, "auto_finalize": True})
        deadline = time.monotonic() + seconds
        state = None
        while time.monotonic() < deadline and state not in ENDED:
            try:
                state = client.call("GET", "/api/v1/upgrade")["state"]
            except (OSError, ApiError, http.client.HTTPException):
                pass  # Between two processes: ask again.
            time.sleep(0.05)
        return state

    def test_output_errors_and_the_exit_status_come_back_apart(self):
        done = self.run_remote("sh", "-c", "echo out; echo err >&2; exit 7")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, b"out\n", b"err\n"))

    def test_every_byte_value_passes_unchanged_both_ways(self):
        data = bytes(range(256)) * 4096 + os.urandom(3_000_000)
        done = self.run_remote("cat", data=data)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(hashlib.sha256(done.stdout).digest(), hashlib.sha256(data).digest())

    def test_the_end_of_input_reaches_the_command(self):
        self.assertEqual(self.run_remote("wc", "-c", data=b"12345").stdout.strip(), b"5")

    def test_a_command_that_does_not_exist_says_so(self):
        self.assertEqual(self.run_remote("no-such-program-here", "x").returncode, 127)

    def test_a_name_that_does_not_exist_is_an_error_of_ours(self):
        done = subprocess.run(self.cli("connect", "nobody", "-T", "--", "true"), capture_output=True, timeout=30,
                              env=self.stage.env)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"nobody", done.stderr)

    def test_a_copy_goes_on_while_the_site_is_upgraded(self):
        """A slow stream that spans the whole upgrade, compared byte by byte."""
        count, size = 120, 40_000
        script = (f"for i in $(seq {count}); do head -c {size} /dev/zero | tr '\\0' \"$(printf '\\\\%03o' $((i % 64 + 32)))\"; "
                  "sleep 0.1; done")
        copy = subprocess.Popen(self.cli("connect", "desk-1", "-T", "--", "sh", "-c", script), stdout=subprocess.PIPE,
                                env=self.stage.env)
        self.assertEqual(self.upgrade(), "done")
        data, _ = copy.communicate(timeout=90)
        self.assertEqual(copy.returncode, 0)
        expected = b"".join(bytes([i % 64 + 32]) * size for i in range(1, count + 1))
        self.assertEqual(len(data), len(expected))
        self.assertEqual(data, expected)


if __name__ == "__main__":
    unittest.main()
