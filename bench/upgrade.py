"""What an in-place upgrade costs those who work meanwhile: stalls of sessions, and the gap between two writes.

    ./dev bench upgrade [-- --sizes 100,300,1000 --handovers 150 --old VERSION=DIR --new VERSION=DIR]

Stall: one process plays both ends of all sessions over real TLS legs; each session carries a message of 256 bytes both
ways every --interval ms (20, 50, 100 ms for 100, 300, 1,000 sessions unless given). A message is late by the time from
its writing to the delivery of its last byte; the stall of a session is its latest message in the window. The windows are
`quiet`, as long as the upgrade took in the run before it, then `upgrade` (from `apply` until every leg has moved and
one second more: fetching, checking and starting the candidate are in it) and `way back` (`rollback`).
`own` is the most that the load generator's own clock was late in that window: what it adds itself.

Write gap: a closed loop over HTTPS writes settings; the gap of a hand-over is the longest time between two
acknowledgements while the switch (or the way back) was under way. `quiet` is the same over as many windows of as long
without a hand-over. Both releases are real programs; recording is strict.
"""
import argparse
import datetime
import http.client
import shutil
import tempfile
import time
from pathlib import Path

from _bench_site import (HERE, ApiError, BenchSite, Child, DevError, become_subreaper, commands, find_releases,
                         kill_children, main_guard, quantile, say)

INTERVALS_MS = {100: 20, 300: 50, 1000: 100}
QUIET_S = 6
SOAK_S = 3600
MOVED_MAX_S = 120
STATE_MAX_S = 90
ENDED = ("rolled_back", "failed", "parked")
STALL_P99_MS, STALL_MAX_MS, WRITE_P99_MS = 10, 50, 10


class Upgrades:
    """The site's upgrade, over its API."""

    def __init__(self, site):
        self.site, self.to = site, site.new.version

    def ask(self, method, path, body=None, seconds=STATE_MAX_S):
        """The site may be between two processes: asked again until it answers."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.site.api.call(method, path, body)
            except ApiError as error:
                if error.status not in (429, 503) or time.monotonic() > deadline:
                    raise
            except (OSError, http.client.HTTPException):
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)  # Before it is asked again.

    def apply(self):
        self.ask("POST", "/api/v1/upgrade/apply", {"to": self.to, "soak_s": SOAK_S})

    def rollback(self):
        self.ask("POST", "/api/v1/upgrade/rollback", {})

    def wait(self, wanted, others=ENDED):
        deadline = time.monotonic() + STATE_MAX_S
        while True:
            state = self.ask("GET", "/api/v1/upgrade")
            if state["state"] == wanted:
                return state
            if state["state"] in others or time.monotonic() > deadline:
                raise DevError(f"the upgrade is {state['state']} ({state.get('why')}), not {wanted}")
            time.sleep(0.05)  # Between two looks.

    def wait_alone(self):
        if not self.site.wait_one_site(60):
            raise DevError("the process of the other release did not end in 60 s")


def window(load, act, moves, seconds):
    """Begins a window, acts, and waits until so many legs have moved."""
    load.begin()
    began = time.monotonic()
    act()
    while True:
        report = load.report()
        if report["moves"] >= moves:
            break
        if time.monotonic() - began > seconds:
            raise DevError(f"only {report['moves']} of {moves} legs moved: {report['last_problem']}")
        time.sleep(0.1)  # Between two looks.
    time.sleep(1)  # The window's last second, after the last move.
    return load.report()


def quiet_window(load, seconds):
    load.begin()
    time.sleep(seconds)  # The length of the window.
    return load.report()


def row(size, name, report, quiet=None):
    stall = report["stall_ms"]
    line = (f"{size:>8} {name:10} {report['window_s']:>8.1f} {stall['p50']:>9.1f} {stall['p99']:>9.1f} "
            f"{stall['max']:>9.1f} {report['generator_late_ms']:>8.1f}")
    if quiet is None:
        say(line)
        return
    pace = report["moves"] / report["moves_s"] if report["moves_s"] > 0 else 0
    p99, most = stall["p99"] - quiet["stall_ms"]["p99"], stall["max"] - quiet["stall_ms"]["max"]
    good = p99 <= STALL_P99_MS and most <= STALL_MAX_MS
    say(f"{line} {report['moves']:>6} {pace:>7.0f} {report['losses']:>5}   over quiet: p99 {p99:+.1f}, max {most:+.1f} "
        f"{'reached' if good else 'missed'}")


def stalls(site, upgrades, size, interval):
    load = site.load(size, "--interval-ms", str(interval), "--bytes", "256", seconds=300)
    try:
        quiet = quiet_window(load, QUIET_S)
        row(size, "quiet", quiet)

        def up():
            upgrades.apply()
            upgrades.wait("soaking")

        def back():
            upgrades.rollback()
            upgrades.wait("rolled_back", ("failed", "parked", "done"))

        row(size, "upgrade", window(load, up, 2 * size, MOVED_MAX_S), quiet)
        row(size, "way back", window(load, back, 2 * size, MOVED_MAX_S), quiet)
        done = load.finish()
        say(f"{'':8} {done['received']} bytes, all in order and unchanged; no session ended")
    finally:
        load.kill()
    upgrades.wait_alone()


def wall_ns(text):
    return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1e9)


def hand_overs(upgrades, count):
    """(begin, end) of each, by the wall clock: of the step `switch`, and of the way back."""
    spans = []
    while len(spans) < count:
        upgrades.apply()
        state = upgrades.wait("soaking")
        step = next(step for step in state["steps"] if step["kind"] == "switch")
        spans.append((wall_ns(step["started_at"]), wall_ns(step["ended_at"])))
        began = time.time_ns()
        upgrades.rollback()
        upgrades.wait("rolled_back", ("failed", "parked", "done"))
        spans.append((began, time.time_ns()))
        upgrades.wait_alone()
    return spans[:count]


def gaps(acks, spans):
    """The longest time between two acknowledgements that touches each span, in ms."""
    out = []
    for begin, end in spans:
        longest = max((b - a for a, b in zip(acks, acks[1:]) if b >= begin and a <= end), default=None)
        if longest is None:
            raise DevError("no write was acknowledged around a hand-over")
        out.append(longest / 1e6)
    return out


def write_gap(site, upgrades, count):
    site.write_token()
    writer = Child("writer", ["/usr/bin/python3", "-B", HERE / "_bench_writer.py", site.address, site.ca_file,
                              site.token_file], site.logs / "bench_writer.log", interactive=True, env=site.env)
    try:
        writer.expect("ready", 20)
        quiet_from = time.time_ns()
        time.sleep(QUIET_S)  # The quiet part.
        quiet_to = time.time_ns()
        spans = hand_overs(upgrades, count)
        writer.ask_stop()
        writer.expect("acks", 30)
        acks = [int(word) for word in next(x for x in writer.lines if x.startswith("acks")).split()[1:]]
    finally:
        writer.kill()
    length = quantile([end - begin for begin, end in spans], 0.5)
    step = max(1, (quiet_to - quiet_from - length) // max(1, len(spans)))
    quiet = gaps(acks, [(quiet_from + i * step, quiet_from + i * step + length) for i in range(len(spans))])
    measured = gaps(acks, spans)
    say(f"\nWrite gap over {len(spans)} hand-overs, {len(acks)} acknowledged writes, each hand-over "
        f"{length / 1e6:.0f} ms long (median)")
    for name, values in (("quiet", quiet), ("hand-over", measured)):
        say(f"  {name:10} p50 {quantile(values, 0.5):7.1f}   p99 {quantile(values, 0.99):7.1f}   "
            f"max {max(values):7.1f} ms")
    p99 = quantile(measured, 0.99)
    say(f"  goal p99 <= {WRITE_P99_MS} ms: {'reached' if p99 <= WRITE_P99_MS else 'missed'}; over quiet "
        f"{p99 - quantile(quiet, 0.99):+.1f} ms")


def main():
    parser = argparse.ArgumentParser(prog="./dev bench upgrade --", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="100,300,1000")
    parser.add_argument("--interval", type=int, metavar="MS")
    parser.add_argument("--handovers", type=int, default=150, metavar="N")
    parser.add_argument("--old", metavar="VERSION=DIR")
    parser.add_argument("--new", metavar="VERSION=DIR")
    args = parser.parse_args()
    sizes = [int(text) for text in args.sizes.split(",") if text != "0"]
    become_subreaper()
    old, new = find_releases(args.old, args.new)
    folder = Path(tempfile.mkdtemp(prefix="everspan-bench-"))
    folder.chmod(0o711)  # The site runs as a user of its own.
    site = BenchSite(folder / "site", old, new)
    try:
        site.start("strict")
        site.publish(new, new.bin)
        site.run(commands.refresh(site.cli))
        upgrades = Upgrades(site)
        say(f"In place, {old.version} -> {new.version}, all on this machine; times in ms")
        say(f"{'sessions':>8} {'':10} {'window s':>8} {'stall p50':>9} {'p99':>9} {'max':>9} {'own':>8} {'moves':>6} "
            f"{'moves/s':>7} {'lost':>5}")
        for size in sizes:
            stalls(site, upgrades, size, args.interval or INTERVALS_MS.get(size, 100))
        if args.handovers:
            write_gap(site, upgrades, args.handovers)
    finally:
        site.tear_down()
        kill_children()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    main_guard(main)
