"""A real site for a benchmark: the demo's stage (depot, base, site) with bench/tools/leg_load on it."""
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT / "tools/demo"), str(ROOT / "tools")]

import commands  # noqa: E402, F401
from devlib import BUILD, DevError, become_subreaper, kill_children, main_guard, say  # noqa: E402, F401
from https import ApiError  # noqa: E402, F401
from process import Child, wait_until  # noqa: E402, F401
from releases import Release, pair  # noqa: E402
from stage import Stage  # noqa: E402

INSTANCE = int(os.environ.get("EVERSPAN_BENCH_INSTANCE", "7"))  # Another one where two run at once.
ENDPOINT = "load"


def tools():
    return Path(os.environ.get("EVERSPAN_BUILD", BUILD / "release")) / "bench/tools"


def version_of(folder):
    """The version that the programs of a folder say."""
    import subprocess
    done = subprocess.run([folder / "everspan-base", "--version"], capture_output=True, text=True, timeout=10)
    return (done.stdout or done.stderr).split()[-1]


def find_releases(old, new):
    """Folders given by hand as VERSION=DIR, or the pinned release and the working tree."""
    if not old:
        return pair(no_build=False)
    given = [text.partition("=") for text in (old, new or old)]
    return tuple(Release(version, None, Path(folder).resolve()) for version, _, folder in given)


class BenchSite(Stage):
    """`pin`: a core for base and all site processes."""

    def __init__(self, folder, old, new, pin=None, instance=INSTANCE):
        super().__init__(folder, instance, old, new, sessions=0, interval_ms=1, seed=1)
        self.pin = pin
        self.load_data = self.folder / "agents" / ENDPOINT
        self.token_file = self.folder / "token"

    def start(self, recording):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.prepare()
        self.start_depot()
        everything = os.sched_getaffinity(0)
        if self.pin is not None:
            os.sched_setaffinity(0, {self.pin})  # Children keep it.
        try:
            self.start_site()
        finally:
            os.sched_setaffinity(0, everything)
        self.api = self.client()
        self.set_recording(recording)
        self.enrol()
        self.write_token()

    def set_recording(self, policy):
        self.api.call("PUT", "/api/v1/settings/session.recording", {"value": policy})

    def write_token(self):
        self.write_secret(self.token_file, self.api.token)

    @staticmethod
    def write_secret(path, text):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(text + "\n")

    def enrol(self):
        token = json.loads(self.run(self.cli("endpoint", "enrol-token", json=True)).stdout)["token"]
        file = self.folder / "enrol.token"
        self.write_secret(file, token)
        self.run(commands.agent_enrol(self.old, self.load_data, f"https://{self.address}", file, ENDPOINT))
        file.unlink()

    def load(self, sessions, *words, core=None, seconds=180):
        command = [tools() / "leg_load", "--site", self.address, "--ca", self.ca_file, "--token-file", self.token_file,
                   "--agent-data", self.load_data, "--sessions", sessions, *words]
        if core is not None:
            command = ["taskset", "-c", core, *command]
        return Load(command, self.logs / "leg_load.log", self.env, seconds)

    def site_pid(self):
        for slot in self.slots():
            if slot["role"] == "active":
                return slot["pid"]
        raise DevError("the site does not say which process is active")


class Load(Child):
    """leg_load: windows are begun and reported over its standard input and output."""

    def __init__(self, command, log, env, seconds):
        super().__init__("leg_load", command, log, interactive=True, env=env)
        self.expect("ready", seconds)
        self.lines.clear()

    def tell(self, word):
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()

    def begin(self):
        self.tell("begin")

    def report(self, word="report", seconds=120):
        self.lines.clear()
        self.tell(word)
        self.expect("{", seconds)
        return json.loads(self.lines.pop())

    def finish(self):
        """Everything arrives, the sessions end; what was sent and received in all."""
        result = self.report("stop")
        status = self.wait(30)
        if status != 0 or not result["ok"]:
            raise DevError(f"bytes were lost or sessions dropped: {result}, status {status}\n{self.tail()}")
        return result


def cpu_ns(pid):
    """CPU time of all threads, by the scheduler's own count."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((thread / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue  # It ended just now.
    return total


def quantile(values, q):
    ordered = sorted(values)
    return ordered[int(q * (len(ordered) - 1))]
