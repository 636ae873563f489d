"""./dev demo: upgrades a live site on this machine and says what was lost (CONTRACT)."""
import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import bad_release  # noqa: E402
import commands  # noqa: E402
import releases  # noqa: E402
import upgrade  # noqa: E402
from devlib import BUILD, ROOT, DevError, become_subreaper, kill_children, kill_leftovers, main_guard, say  # noqa: E402
from pair_stage import PairStage  # noqa: E402
from report import print_report  # noqa: E402
from stage import Stage  # noqa: E402

SOAK_S = 5
QUIET_S = 4      # Load without an upgrade, to compare with.
AFTER_S = 2      # Load after the upgrade's end.
UPGRADE_MAX_S = 90
RETIRE_MAX_S = 10  # From the upgrade's end until one site process is left.


def arguments(argv):
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument("--single", action="store_true", help="one appliance, not a pair")
    parser.add_argument("--method", choices=["async", "sync"],
                        help="of a pair: backup first, hand-over, then the other (async, the default); or primary first, "
                             "without a change of roles")
    parser.add_argument("--bad-release", nargs="?", const="exit", choices=bad_release.KINDS, metavar="KIND",
                        help=f"upgrade to a release that is bad: {', '.join(bad_release.KINDS)}")
    parser.add_argument("--chaos", action="store_true", help="kill -9 processes of it meanwhile")
    parser.add_argument("--sessions", type=int, default=200, metavar="N")
    parser.add_argument("--interval", type=int, default=100, metavar="MS", help="between two messages of a session")
    parser.add_argument("--seconds", type=int, metavar="N", help="load at least so long")
    parser.add_argument("--repeat", type=int, default=1, metavar="N")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--data", type=Path, metavar="DIR", help="default: build/demo/INSTANCE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report there")
    parser.add_argument("--keep", action="store_true", help="leave the site running")
    parser.add_argument("--stop", action="store_true", help="end a site that --keep left, and nothing else")
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--instance", type=int, default=0, metavar="N", help="addresses 127.77.N.x")
    parser.add_argument("--from", dest="old", metavar="V")
    parser.add_argument("--to", dest="new", metavar="V")
    args = parser.parse_args(argv)
    if args.single and args.method:
        raise DevError("--method is for a pair: it and --single exclude each other", 2)
    args.method = "single" if args.single else args.method or "async"
    if not 0 <= args.instance <= 254 or args.sessions < 1 or args.interval < 1 or args.repeat < 1:
        raise DevError("--instance is 0 to 254; --sessions, --interval and --repeat are at least 1", 2)
    if args.keep and args.repeat > 1:
        raise DevError("--keep and --repeat exclude each other", 2)
    return args


def claim_instance(number):
    """An abstract socket is gone with this process, however it ends."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        lock.bind(f"\0everspan-demo-{number}")
    except OSError as error:
        raise DevError(f"Another demo uses 127.77.{number}.x; choose another --instance", 3) from error
    return lock


def open_folder(args):
    folder = (args.data or BUILD / "demo" / str(args.instance)).resolve()
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "demo.json").exists() and args.data:
        raise DevError(f"{folder} is not empty and no demo's folder", 2)
    folder.mkdir(parents=True, exist_ok=True)
    kill_leftovers(folder)  # Of a run that was killed, or kept.
    (folder / "demo.json").touch(mode=0o600)
    return folder


def new_release(args, stage):
    """The binaries to publish as the next release, and the hashes that its site may run as."""
    site = stage.new.bin / "everspan-site"
    if not args.bad_release:
        return stage.new.bin, [commands.sha256_file(site)]
    folder = bad_release.make(args.bad_release, stage.new.bin, BUILD / "release/tools/bad_site", stage.folder / "bad")
    # What runs is the wrapper until it started the real one, in memory, whose hash is the real one's.
    return folder, [commands.sha256_file(folder / "everspan-site"), commands.sha256_file(site)]


def run_once(args, folder, old, new, seed):
    stage = (Stage if args.single else PairStage)(folder, args.instance, old, new, sessions=args.sessions, interval_ms=args.interval, seed=seed)
    expect = "rolled_back" if args.bad_release else "upgraded"
    kept = False
    try:
        stage.prepare()
        started = time.monotonic()
        stage.start_depot()
        say(f"Depot at http://{stage.depot_address} publishes {old.version}")
        stage.start_site()
        say(f"Appliance A at https://{stage.address} runs {old.version}")
        stage.start_backup()
        stage.start_agents()
        stage.write_demo_json()
        say("Two agents enrolled with one-time tokens, and online")
        stage.start_load()
        stage.start_witnesses()
        say(f"{args.sessions} sessions from {len(stage.loads)} load processes, a person's shell, a writer and a prober "
            f"({time.monotonic() - started:.0f} s)")
        stage.mark("ready")
        binaries, digests = new_release(args, stage)
        stage.write_run(args.method, digests, expect)
        stage.publish(new, binaries)
        what = f"a release that is bad ({args.bad_release})" if args.bad_release else "a release"
        say(f"Depot publishes {new.version}, {what}")
        quiet_until = time.monotonic() + QUIET_S
        while time.monotonic() < quiet_until:
            stage.check_witnesses()
            time.sleep(0.2)
        watch, code = upgrade.apply(stage, new.version, args.method, soak_s=SOAK_S, seconds_max=UPGRADE_MAX_S,
                                    chaos_seed=seed if args.chaos else None)
        say(f"The site says: {watch.state}" + (f", {watch.last.get('why')}" if watch.last.get("why") else "")
            + f" (exit status of `upgrade apply`: {code})")
        if not stage.wait_one_site(RETIRE_MAX_S):
            say(f"  the other site process is still there {RETIRE_MAX_S} s after the upgrade's end")
        until = max(time.monotonic() + AFTER_S, started + (args.seconds or 0))
        while time.monotonic() < until:
            stage.check_witnesses()
            time.sleep(0.2)
        watch.sample(status=True)
        stage.stop_load()
        stage.collect_recordings()
        ok = judge(args, stage, expect)
        if args.keep:
            kept = True
            say_how_to_reach(stage)
        return ok
    finally:
        if not kept:
            stage.tear_down()


def judge(args, stage, expect):
    """The report is made by the independent checker from the evidence; here it is only printed."""
    report_file = stage.folder / "report.json"
    checker = ROOT / "tests/tools/check_evidence.py"
    done = subprocess.run(["/usr/bin/python3", "-B", str(checker), str(stage.evidence), "--quiet", "--expect", expect,
                           "--json", str(report_file)], capture_output=True, text=True)
    if done.returncode not in (0, 1) or not report_file.is_file():
        raise DevError(f"the checker failed: {done.stderr[-2000:]}")
    reasons = [line.removeprefix("NOT AS PROMISED: ") for line in done.stderr.splitlines()]
    report = json.loads(report_file.read_text())
    print_report(report, reasons)
    if args.json:
        shutil.copy(report_file, args.json)
    return done.returncode == 0


def say_how_to_reach(stage):
    cli = " ".join(str(word) for word in stage.cli())
    say(f"""
The site runs on, in {stage.folder} (the password is in {stage.password_file}):
  EVERSPAN_DATA={stage.env['EVERSPAN_DATA']} {cli} status
End it with: ./dev demo --stop --data {stage.folder}""")


def main():
    args = arguments(sys.argv[1:])
    lock = claim_instance(args.instance)
    folder = open_folder(args)
    if args.stop:
        say(f"ended what ran in {folder}")
        return 0
    if os.geteuid() != 0:
        say(f"Run as uid {os.geteuid()}: one uid serves for all, so privilege checks are skipped")
    become_subreaper()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    old, new = releases.pair(args.old, args.new, args.no_build)
    for release in (old, new):
        if release.note:
            say(f"Note: {release.note} ({old.version}, {new.version})")
            break
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1, 1_000_000)
    passed = 0
    for number in range(args.repeat):
        if args.repeat > 1:
            say(f"\n==== run {number + 1} of {args.repeat}, seed {seed + number} ====")
        if run_once(args, folder, old, new, seed + number):
            passed += 1
        elif args.repeat > 1:
            shutil.copytree(folder / "evidence", folder / f"evidence-failed-{number + 1}", dirs_exist_ok=True)
    if args.repeat > 1:
        say(f"\n{passed} of {args.repeat} runs as promised")
    del lock
    return 0 if passed == args.repeat else 1


if __name__ == "__main__":
    try:
        main_guard(main)
    finally:
        if "--keep" not in sys.argv:
            kill_children()
