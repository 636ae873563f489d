"""What the tools behind ./dev share: paths, quiet logs with progress, builds, process trees.

Standard library only. Exit codes everywhere: 0 done, 1 failed, 2 usage, 3 environment.
"""
import ctypes
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
LOGS = BUILD / "logs"
PR_SET_CHILD_SUBREAPER = 36


class DevError(Exception):
    """Ends a tool with a message; `code` is its exit code."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


def main_guard(main):
    try:
        sys.exit(main())
    except DevError as error:
        print(error, file=sys.stderr)
        sys.exit(error.code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(1)


def say(text):
    print(text, flush=True)


# ---- running things -------------------------------------------------------------------------

def run_logged(name, command, *, cwd=ROOT, env=None, tail=40, title=None):
    """Runs `command` with its output in build/logs/NAME.log; a short progress line meanwhile.

    Raises DevError with the tail of the log when it fails.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{name}.log"
    started = time.monotonic()
    shown = 0.0
    tty = sys.stdout.isatty()
    title = title or name
    with open(log, "wb") as out:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for line in process.stdout:
            out.write(line)
            now = time.monotonic()
            step = re.match(rb"\[(\d+)/(\d+)\]", line)
            if step and now - shown > (0.2 if tty else 30):
                shown = now
                text = f"  {title}: {step[1].decode()}/{step[2].decode()}"
                print(f"\r{text}\033[K" if tty else text, end="" if tty else "\n", flush=True)
        code = process.wait()
    if tty and shown:
        print("\r\033[K", end="", flush=True)
    seconds = time.monotonic() - started
    if code != 0:
        lines = log.read_text(errors="replace").splitlines()
        errors = [line for line in lines if re.search(r"(error:|FAILED:|CMake Error)", line)][:12]
        sys.stdout.flush()
        print("\n".join(errors + ["..."] + lines[-tail:]), file=sys.stderr)
        raise DevError(f"{title}: failed (exit {code}); the whole log: {log.relative_to(ROOT)}")
    if seconds > 3:
        say(f"  {title}: {seconds:.0f} s")


class FileLock:
    """An exclusive lock on a file, gone with the process that holds it."""

    def __init__(self, path, what):
        self.path, self.what, self.file = Path(path), what, None

    def __enter__(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(self.path, "w")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"  waiting: another ./dev {self.what}")
            fcntl.flock(self.file, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_):
        self.file.close()


def next_version():
    with open(ROOT / "releases.toml", "rb") as file:
        return tomllib.load(file)["next"]


def build(preset="release", targets=("all",), *, version=None, folder=None, source=ROOT,
          defines=(), name=None):
    """Configures and builds; returns the build folder."""
    folder = Path(folder or BUILD / preset)
    name = name or f"build-{folder.name}"
    version = version or next_version()
    with FileLock(folder.parent / f".{folder.name}.lock", f"build of {folder.name}"):
        run_logged(f"{name}-configure",
                   ["cmake", "--preset", preset, "-B", str(folder), f"-DEVERSPAN_VERSION={version}",
                    *[f"-D{define}" for define in defines]],
                   cwd=source, title=f"configure {name.removeprefix('build-')}")
        run_logged(name, ["ninja", "-C", str(folder), *targets], cwd=source,
                   title=f"build {name.removeprefix('build-')}")
    return folder


def test_list(folder):
    """[(kind, name, path)] of the test programs that the configure step knows."""
    lines = (Path(folder) / "tests.txt").read_text().splitlines()
    return [tuple(line.split(" ", 2)) for line in lines if line]


# ---- processes ------------------------------------------------------------------------------

def become_subreaper():
    """Orphans below this process come to it, so that kill_children() finds every one."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise DevError("prctl(PR_SET_CHILD_SUBREAPER) failed", 3)


def stat_fields(pid):
    """(state, parent, start time) from /proc/PID/stat, or None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[1]), int(fields[19])


def children_of():
    """parent -> [child] of every process."""
    tree = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = stat_fields(entry)
            if fields:
                tree.setdefault(fields[1], []).append(int(entry))
    return tree


def descendants(pid):
    tree, found, queue = children_of(), [], [pid]
    while queue:
        for child in tree.get(queue.pop(), ()):
            found.append(child)
            queue.append(child)
    return found


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def kill_children(pid=None):
    """SIGKILL to everything below `pid` (default: this process), until nothing lives there."""
    pid = pid or os.getpid()
    deadline = time.monotonic() + 10
    while True:
        living = [p for p in descendants(pid) if (stat_fields(p) or "Z")[0] != "Z"]
        if not living:
            break
        if time.monotonic() > deadline:
            raise DevError(f"processes {living} did not end on SIGKILL")
        for child in living:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass
        reap()
        time.sleep(0.01)  # The kernel needs a moment to take them down; the loop checks.
    reap()


def kill_leftovers(folder):
    """Ends programs of ours that belong to a run folder whose owner is gone: their executable lies in
    it, or an argument names it. A shell or editor of the user that merely stands there is left alone."""
    folder = str(Path(folder).resolve())
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            exe = os.readlink(f"/proc/{entry}/exe")
            words = Path(f"/proc/{entry}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        ours = Path(words[0]).name.startswith(("everspan", "load_end")) or \
            any("/tools/demo/" in word for word in words[:3]) and "main.py" not in words[1:3]
        named = any(word == folder or word.startswith(folder + "/") for word in words)
        if exe.startswith(folder + "/") or (ours and named):
            try:
                os.kill(int(entry), signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
