"""Tools that know nothing of Everspan, through it: tar, rsync and git over `connect -T`; TCP programs and
ssh over `tunnel`; each while the site is upgraded live."""
import contextlib
import hashlib
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from live_site import ROOT, LiveSite, await_gone  # noqa: E402
from process import Child  # noqa: E402

TOOL_S = 60
BIG = 24 * 1024 * 1024
DRIPS, DRIP_BYTES = 150, 40_000
DRIP = (f"for i in $(seq {DRIPS}); do head -c {DRIP_BYTES} /dev/zero | "
        "tr '\\0' \"$(printf '\\\\%03o' $((i % 64 + 32)))\"; sleep 0.1; done")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Through(LiveSite):
    def setUp(self):
        super().setUp()
        self.work = self.stage.folder / "work"
        self.work.mkdir()
        # What a person has: `everspan` on the path, the site in the environment.
        self.env = dict(self.stage.env, PATH=f"{self.stage.old.bin}:{os.environ['PATH']}",
                        EVERSPAN_SITE=self.stage.address, EVERSPAN_PROFILE="demo", GIT_CONFIG_GLOBAL="/dev/null",
                        GIT_CONFIG_SYSTEM="/dev/null", LC_ALL="C.UTF-8")

    def start(self, *words, **options):
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        process = subprocess.Popen([str(word) for word in words], env=self.env, cwd=self.work,
                                   start_new_session=True, **options)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()

    def run_tool(self, *words, data=b"", status=0):
        process = self.start(*words, stdin=subprocess.PIPE)
        out, err = process.communicate(data, timeout=TOOL_S)
        self.assertEqual(process.returncode, status, f"{words}: {err[-1500:]}")
        return out, err

    def run_there(self, *words, **options):
        return self.run_tool("everspan", "connect", "desk-1", "-T", "--", *words, **options)

    def make_tree(self, name):
        """Files of many sizes, names with blanks, an empty one, a link, modes."""
        root, drawn = self.work / name, random.Random(7)
        for folder in ("", "deep/er", "with blanks and 'quotes'"):
            (root / folder).mkdir(parents=True, exist_ok=True)
            for number, size in enumerate((0, 1, 4096, 70_000, 900_001)):
                (root / folder / f"file {number}").write_bytes(drawn.randbytes(size))
        (root / "deep/er/file 1").chmod(0o750)
        (root / "link").symlink_to("deep/er/file 2")
        return root

    def picture(self, root):
        """Every path below it, with what it is."""
        out = {}
        for path in sorted(root.rglob("*")):
            mode = oct(path.lstat().st_mode)
            out[str(path.relative_to(root))] = (mode, os.readlink(path)) if path.is_symlink() else \
                (mode, sha256(path.read_bytes()) if path.is_file() else None)
        return out


class Copies(Through):
    def test_tar_rsync_and_git_work_and_bytes_are_as_they_are(self):
        tree = self.make_tree("tree")
        (self.work / "to").mkdir()
        self.run_tool("bash", "-o", "pipefail", "-c",
                      "tar c -C tree . | everspan connect desk-1 -T -- tar x -C \"$PWD/to\"")
        self.assertEqual(self.picture(self.work / "to"), self.picture(tree))
        self.run_tool("bash", "-o", "pipefail", "-c",
                      "mkdir back; everspan connect desk-1 -T -- tar c -C \"$PWD/to\" . | tar x -C back")
        self.assertEqual(self.picture(self.work / "back"), self.picture(tree))

        remote_shell = "everspan connect -T"
        self.run_tool("rsync", "-a", "-e", remote_shell, "tree/", f"desk-1:{self.work}/pushed")
        self.assertEqual(self.picture(self.work / "pushed"), self.picture(tree))
        blanks = "with blanks and 'quotes'"
        self.run_tool("rsync", "-a", "-e", remote_shell, f"desk-1:{self.work}/pushed/{blanks}/", "pulled/")
        self.assertEqual(self.picture(self.work / "pulled"), self.picture(tree / blanks))
        (tree / "file 3").write_bytes(b"changed" * 3000)
        out, _ = self.run_tool("rsync", "-ai", "-e", remote_shell, "tree/", f"desk-1:{self.work}/pushed")
        self.assertIn(b"file 3", out)
        self.assertNotIn(b"file 4", out)
        self.assertEqual(self.picture(self.work / "pushed"), self.picture(tree))
        self.run_tool("rsync", "-a", "-e", self.wrapper(), f"me@desk-1:{self.work}/pushed/", "wrapped/")
        self.assertEqual(self.picture(self.work / "wrapped"), self.picture(tree))
        self.git(remote_shell)
        self.errors_stay_apart()
        self.a_reader_that_leaves_ends_the_program()
        self.await_no_sessions()
        self.check_recordings(8)

    def wrapper(self):
        """The script that docs/operations/using.md shows."""
        text = (ROOT / "docs/operations/using.md").read_text()
        path = self.work / "everspan-sh"
        path.write_text(text[text.index("#!/bin/sh"):].split("```")[0])
        path.chmod(0o755)
        return path

    def git(self, remote_shell):
        self.env |= {"GIT_SSH_COMMAND": remote_shell, "GIT_SSH_VARIANT": "simple"}
        made = self.work / "made"
        self.run_tool("git", "init", "-q", "-b", "main", made)
        (made / "text").write_text("one\n")
        (made / "bytes").write_bytes(random.Random(3).randbytes(2_000_000))
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        self.run_tool("git", "-C", made, "add", "-A")
        self.run_tool("git", "-C", made, *who, "commit", "-qm", "one")
        self.run_tool("git", "clone", "-q", f"desk-1:{made}", "cloned")
        self.assertEqual((self.work / "cloned/bytes").read_bytes(), (made / "bytes").read_bytes())
        (self.work / "cloned/text").write_text("two\n")
        self.run_tool("git", "-C", "cloned", *who, "commit", "-qam", "two")
        self.run_tool("git", "-C", "cloned", "push", "-q", "origin", "main:incoming")
        out, _ = self.run_tool("git", "-C", made, "show", "incoming:text")
        self.assertEqual(out, b"two\n")

    def errors_stay_apart(self):
        out, err = self.run_there("sh", "-c", "echo to output; echo to error >&2; exit 7", status=7)
        self.assertEqual((out, err), (b"to output\n", b"to error\n"))
        out, _ = self.run_there("sh", "-c", "cat; echo after its end", data=b"all of it\n")  # Half-closed.
        self.assertEqual(out, b"all of it\nafter its end\n")
        self.run_there("sh", "-c", "kill -9 $$", status=128 + 9)
        _, err = self.run_there("no-such-program", "x", status=127)
        self.assertIn(b"no-such-program", err)
        # Every byte value, what a terminal would act on, and more than all buffers on the way together.
        odd = bytes(range(256)) * 5 + b"\r\n~.\n\x03\x04\x1a\xff" + random.Random(5).randbytes(4_000_000)
        self.assertEqual(self.run_there("cat", "-", data=odd)[0], odd)
        out, _ = self.run_there("printf", "%s|", "a b", "", "$HOME", "'\"", "*")
        self.assertEqual(out, b"a b||$HOME|'\"|*|")
        # A program that does not want all of its input ends as it would here.
        out, _ = self.run_there("head", "-c", "5", data=b"first" + b"x" * 3_000_000)
        self.assertEqual(out, b"first")
        process = self.start("everspan", "connect", "nobody", "-T", "--", "true")
        out, err = process.communicate(timeout=TOOL_S)  # No such endpoint: an error of ours, not of a command.
        self.assertNotIn(process.returncode, (0, 126, 127))
        self.assertEqual(out, b"")
        self.assertIn(b"nobody", err)

    def a_reader_that_leaves_ends_the_program(self):
        process = self.start("everspan", "connect", "desk-1", "-T", "--", "sh", "-c", "echo $$; exec yes")
        pid = int(process.stdout.readline())
        process.stdout.close()
        self.assertEqual(process.wait(TOOL_S), 128 + signal.SIGPIPE)
        process.stdout = None
        await_gone(pid, "yes")


class CopiesThroughAnUpgrade(Through):
    def test_large_copies_both_ways_are_exact_across_an_upgrade(self):
        self.publish_next()
        data = random.Random(11).randbytes(BIG)
        (self.work / "big").write_bytes(data)
        # Paced, so that they run from before the upgrade until after it; each knows only its own pipe.
        pull = self.start("everspan", "connect", "desk-1", "-T", "--", "cat", self.work / "big", stderr=None)
        push = self.start("everspan", "connect", "desk-2", "-T", "--", "sh", "-c", "sha256sum; echo also >&2",
                          stdin=subprocess.PIPE)
        # One that is slow at the far end, so that nothing waits for this end.
        drip = self.start("everspan", "connect", "desk-2", "-T", "--", "sh", "-c", DRIP)
        self.env["RSYNC_RSH"] = "everspan connect -T"
        rsync = self.start("rsync", "--bwlimit=2m", f"desk-1:{self.work}/big", "by-rsync")
        paced = Paced(pull, push, data)
        paced.go_on(0.25)
        upgrade = self.start_upgrade()
        while upgrade.alive():
            paced.go_on(paced.done + 0.01, limit=0.9)
            time.sleep(0.1)
        self.check_upgraded(upgrade)
        self.assertGreaterEqual(self.moved(), 4)
        self.assertIsNone(pull.poll())
        self.assertIsNone(push.poll())
        paced.go_on(1.0)
        out, err = push.communicate(timeout=TOOL_S)
        self.assertEqual((out.split()[0].decode(), err), (sha256(data), b"also\n"))
        self.assertEqual(pull.stdout.read(), b"")
        self.assertEqual(pull.wait(TOOL_S), 0)
        self.assertEqual(sha256(bytes(paced.pulled)), sha256(data))
        _, err = rsync.communicate(timeout=TOOL_S)
        self.assertEqual((rsync.returncode, err), (0, b""))
        self.assertEqual(sha256((self.work / "by-rsync").read_bytes()), sha256(data))
        out, err = drip.communicate(timeout=TOOL_S)
        self.assertEqual((drip.returncode, err), (0, b""))
        self.assertEqual(out, b"".join(bytes([i % 64 + 32]) * DRIP_BYTES for i in range(1, DRIPS + 1)))
        self.await_no_sessions()
        self.check_recordings(4)


class Paced:
    """Reads and writes two streams up to a share of their length, when asked."""

    def __init__(self, pull, push, data):
        self.pull, self.push, self.data = pull, push, data
        self.pulled, self.pushed, self.done = bytearray(), 0, 0.0

    def go_on(self, share, limit=1.0):
        share = min(share, limit)
        wanted = int(len(self.data) * share)
        while len(self.pulled) < wanted:
            piece = os.read(self.pull.stdout.fileno(), min(65536, wanted - len(self.pulled)))
            if not piece:
                raise AssertionError(f"the stream ended at {len(self.pulled)}")
            self.pulled += piece
        while self.pushed < wanted:
            self.pushed += os.write(self.push.stdin.fileno(), self.data[self.pushed:min(wanted, self.pushed + 65536)])
        self.done = max(self.done, share)


class Tunnels(Through):
    def test_tcp_and_ssh_go_on_through_an_upgrade(self):
        self.publish_next()
        far = FarEnd()
        self.addCleanup(far.close)
        tunnel = self.start("everspan", "tunnel", "desk-1", f"0:127.0.0.1:{far.port}")
        near = re.fullmatch(rb"Listening on (127\.0\.0\.1):(\d+)\n", tunnel.stdout.readline())
        self.near = (near[1].decode(), int(near[2]))
        self.many_at_once(24)

        ssh = self.start_ssh(self.start_sshd())
        talks = [socket.create_connection(self.near, 10) for _ in range(6)]
        for talk in talks:
            self.addCleanup(talk.close)
        upgrade, number = self.start_upgrade(), 0
        while upgrade.alive() or number < 10:
            number += 1
            for talk in talks:
                self.say_and_hear(talk, f"line {number}\n".encode())
            ssh.stdin.write(b"%d\n" % number)
            ssh.stdin.flush()
            self.assertEqual(self.line_of(ssh), b"%d squared is %d\n" % (number, number * number))
        self.check_upgraded(upgrade)
        self.assertGreaterEqual(self.moved(), 4)
        for talk in talks:
            talk.shutdown(socket.SHUT_WR)  # The other direction goes on.
            self.assertEqual(self.all_of(talk), f"{number} lines\n".encode())
        out, err = ssh.communicate(timeout=TOOL_S)
        self.assertEqual((ssh.returncode, out, err), (5, b"bye\n", b""))
        self.many_at_once(8)
        self.ends(far, tunnel)
        self.await_no_sessions()
        self.check_recordings(2)

    def ends(self, far, tunnel):
        """What either side of a connection does reaches the other; then the tunnel itself ends."""
        with socket.create_connection(self.near, 10) as talk:
            self.say_and_hear(talk, b"close\n", b"closing\n")
            self.assertEqual(self.all_of(talk), b"")
        far.close()
        with socket.create_connection(self.near, 10) as talk:
            self.assertEqual(self.all_of(talk), b"")
        tunnel.terminate()
        _, err = tunnel.communicate(timeout=TOOL_S)
        self.assertEqual(tunnel.returncode, 0, err)
        self.assertIn(b"refused", err)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(self.near, 10).close()

    def say_and_hear(self, talk, line, answer=None):
        talk.settimeout(TOOL_S)
        talk.sendall(line)
        heard = b""
        while not heard.endswith(b"\n"):
            piece = talk.recv(4096)
            self.assertTrue(piece, f"closed after {heard!r}")
            heard += piece
        self.assertEqual(heard, answer or b"heard " + line)

    @staticmethod
    def all_of(talk):
        talk.settimeout(TOOL_S)
        return b"".join(iter(lambda: talk.recv(65536), b""))

    def many_at_once(self, count):
        """Each sends a block and its end, and then gets the block's hash and the block backwards."""
        failures = []

        def one(number):
            block = random.Random(number).randbytes(200_000 + number)
            try:
                with socket.create_connection(self.near, TOOL_S) as talk:
                    talk.settimeout(TOOL_S)
                    talk.sendall(b"block\n" + block)
                    talk.shutdown(socket.SHUT_WR)
                    if self.all_of(talk) != sha256(block).encode() + block[::-1]:
                        failures.append(f"{number}: other bytes")
            except OSError as error:
                failures.append(f"{number}: {error}")

        threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    # ---- ssh ----
    def start_sshd(self):
        """A real sshd of this user on a port of its own; the port."""
        if os.getuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # As its own start script does.
        for name in ("host", "person"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.work / name], check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        (self.work / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {self.work}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.work}/person.pub\nStrictModes no\nPasswordAuthentication no\n"
            "PermitRootLogin yes\nLogLevel VERBOSE\n")
        sshd = Child("sshd", [shutil.which("sshd", path="/usr/sbin:/usr/local/sbin"), "-D", "-e", "-f",
                              self.work / "sshd_config"], self.stage.logs / "sshd.log")
        self.addCleanup(sshd.stop)
        self.stage.wait_port(f"127.0.0.1:{port}", sshd)
        return port

    def start_ssh(self, port):
        (self.work / "known").write_text("desk " + (self.work / "host.pub").read_text())
        there = "while read n; do echo $n squared is $((n * n)); done; echo bye; exit 5"
        return self.start("ssh", "-F", "none", "-o", f"ProxyCommand=everspan tunnel desk-2 127.0.0.1:{port} --stdio",
                          "-o", f"UserKnownHostsFile={self.work}/known", "-o", "BatchMode=yes", "-i",
                          self.work / "person", "-o", "IdentitiesOnly=yes", "-o", "HostKeyAlias=desk", "desk", there,
                          stdin=subprocess.PIPE)

    def line_of(self, process):
        """Its next line. What is buffered in Python would be lost to select, so one byte at a time."""
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([process.stdout], [], [], TOOL_S)[0]:
                self.fail(f"nothing after {line!r}")
            piece = os.read(process.stdout.fileno(), 1)
            if not piece:
                self.fail(f"it ended: {process.stderr.read()!r}")
            line += piece
        return line


class FarEnd:
    """A TCP server as it may stand behind an endpoint: answers lines, or a block after its end."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.accept_all, daemon=True)
        self.thread.start()

    def accept_all(self):
        while True:
            try:
                talk, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(talk,), daemon=True).start()

    @staticmethod
    def serve(talk):
        lines = 0
        with talk, talk.makefile("rb") as file:
            for line in file:
                if line == b"block\n":
                    block = file.read()
                    talk.sendall(sha256(block).encode() + block[::-1])
                    return
                if line == b"close\n":
                    talk.sendall(b"closing\n")
                    return
                lines += 1
                talk.sendall(b"heard " + line)
            talk.sendall(f"{lines} lines\n".encode())

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


if __name__ == "__main__":
    unittest.main()
