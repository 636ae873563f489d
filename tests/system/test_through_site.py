"""Ordinary programs through a site: bytes, exit status, tar, rsync, git, ssh; some of them while it
is upgraded."""
import hashlib
import http.client
import os
import shlex
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from site_fixture import SiteTest  # noqa: E402
import commands  # noqa: E402
from https import ApiError  # noqa: E402
from process import Child  # noqa: E402

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

    def test_tar_goes_through(self):
        source = self.make_tree()
        pull = subprocess.run(shlex.join(self.cli("connect", "desk-1", "-T", "--", "tar", "c", "-C", str(source), "."))
                              + f" | tar x -C {self.empty('unpacked')}", shell=True, env=self.stage.env, timeout=60)
        self.assertEqual(pull.returncode, 0)
        self.assert_same(source, self.stage.folder / "unpacked")

    def test_rsync_goes_through(self):
        source, target = self.make_tree(), self.empty("synced")
        done = subprocess.run(["rsync", "-a", "-e", shlex.join(self.cli("connect", "-T")), f"desk-1:{source}/",
                               f"{target}/"], env=self.stage.env, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_same(source, target)

    def test_git_goes_through(self):
        source = self.make_tree()
        git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-c", "safe.directory=*", "-C", str(source)]
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
            subprocess.run([*git, *words], check=True, capture_output=True)
        target = self.stage.folder / "cloned"
        env = dict(self.stage.env, GIT_SSH_COMMAND=shlex.join(self.cli("connect", "-T")), GIT_SSH_VARIANT="simple")
        done = subprocess.run(["git", "clone", "-q", f"desk-1:{source}", str(target)], env=env, capture_output=True,
                              text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((target / "a/one.bin").read_bytes(), (source / "a/one.bin").read_bytes())

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

    def test_ssh_through_a_tunnel_survives_an_upgrade(self):
        port, key = self.start_sshd()
        proxy = shlex.join(self.cli("tunnel", "desk-1", f"127.77.{self.stage.instance}.1:{port}", "--stdio"))
        ssh = Child("ssh", ["ssh", "-F", "/dev/null", "-i", key, "-o", "StrictHostKeyChecking=no", "-o",
                            "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", f"ProxyCommand={proxy}", "desk-1",
                            "while read line; do echo answer $line; done"],
                    self.stage.logs / "ssh.log", interactive=True, env=self.stage.env)

        def ask(word):
            ssh.process.stdin.write(f"{word}\n".encode())
            ssh.process.stdin.flush()
            ssh.expect(f"answer {word}", 30)

        ask("before")
        self.assertEqual(self.upgrade(), "done")
        ask("after")
        ssh.process.stdin.close()
        self.assertEqual(ssh.wait(20), 0)

    # ---- helpers ----
    def empty(self, name):
        folder = self.stage.folder / name
        folder.mkdir()
        return folder

    def make_tree(self):
        folder = self.empty("tree")
        (folder / "a").mkdir()
        (folder / "a/one.bin").write_bytes(os.urandom(1_500_000))
        (folder / "two.txt").write_text("two\n")
        return folder

    def assert_same(self, one, other):
        for path in ("a/one.bin", "two.txt"):
            self.assertEqual((one / path).read_bytes(), (other / path).read_bytes())

    def start_sshd(self):
        folder = self.empty("sshd")
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        port = 2200
        (folder / "config").write_text(
            f"ListenAddress 127.77.{self.stage.instance}.1:{port}\nHostKey {folder}/host\n"
            f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nUsePAM no\nPidFile none\n"
            "PermitRootLogin yes\nPasswordAuthentication no\n")
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        sshd = Child("sshd", ["/usr/sbin/sshd", "-D", "-e", "-f", folder / "config"], self.stage.logs / "sshd.log")
        self.stage.wait_port(f"127.77.{self.stage.instance}.1:{port}", sshd)
        return port, folder / "user"


if __name__ == "__main__":
    unittest.main()
