"""Watches which programs really run: hashes /proc/PID/exe of base's children, four times a second.

    sampler.py EVIDENCE_DIR BASE_PID_FILE[,BASE_PID_FILE] DRIVER_PID

Orphans come to the driver (it is a subreaper), so its children are looked at too: a site that
outlives its base is one of them.
"""
import hashlib
import os
import sys
import time

from worker import Lines, Stop, say

INTERVAL_S = 0.25
NOT_SITES = ("everspan", "everspan-agent", "everspan-sessio", "everspan-depot", "load_end", "bash", "sh")


class Hashes:
    def __init__(self):
        self.known = {}

    def of(self, pid):
        path = f"/proc/{pid}/exe"
        info = os.stat(path)
        key = (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)
        if key not in self.known:
            with open(path, "rb") as file:
                self.known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self.known[key]


def children_of(parents):
    """[(pid, parent)] of living children of these processes, from one pass over /proc."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) in parents and fields[0] not in "ZX":
            found.append((int(entry), int(fields[1])))
    return found


def name_of(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return file.read().strip()


def sample(base_pid_file, driver, hashes, lines):
    now = time.monotonic_ns()
    bases = set()
    for path in base_pid_file.split(","):
        try:
            with open(path, encoding="ascii") as file:
                bases.add(int(file.read()))
        except (OSError, ValueError):
            pass  # Between two bases: its children are the driver's.
    pids = [(pid, "base" if pid in bases else "site") for pid, parent in children_of({*bases, driver})]
    for pid, role in pids:
        try:
            name = name_of(pid)
            # A release runs by descriptor, so its name may be that of a descriptor or a memory file.
            if role == "base" or not (name in NOT_SITES or name.startswith("python")):
                lines.add(t_ns=now, pid=pid, role=role, name=name, exe_sha256=hashes.of(pid))
        except OSError:
            continue  # It ended meanwhile, or is another user's.


def main():
    folder, base_pid_file, driver = sys.argv[1], sys.argv[2], int(sys.argv[3])
    stop, lines, hashes = Stop(), Lines(f"{folder}/processes.jsonl"), Hashes()
    say("ready")
    next_at = time.monotonic()
    while True:
        sample(base_pid_file, driver, hashes, lines)
        next_at = max(next_at + INTERVAL_S, time.monotonic())
        if stop.wait(next_at - time.monotonic()):
            break
    sample(base_pid_file, driver, hashes, lines)  # What runs in the end.
    lines.flush()


main()
