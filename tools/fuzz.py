"""./dev fuzz [TARGET] [--seconds N]: each parser of foreign bytes under libFuzzer, corpus in tests/fuzz."""
import argparse
import subprocess

from devlib import BUILD, LOGS, ROOT, DevError, build, main_guard, say


def main():
    parser = argparse.ArgumentParser(prog="./dev fuzz")
    parser.add_argument("target", nargs="?")
    parser.add_argument("--seconds", type=int, default=30, metavar="N", help="for each target")
    parser.add_argument("--no-build", action="store_true")
    args = parser.parse_args()
    if not args.no_build:
        build("fuzz", ["fuzz_targets"])
    targets = sorted(path for path in (BUILD / "fuzz/fuzz").glob("*_fuzz") if path.is_file())
    if args.target:
        targets = [path for path in targets if path.name in (args.target, f"{args.target}_fuzz")]
    if not targets:
        raise DevError("no such fuzz target", 2)
    failed = 0
    LOGS.mkdir(parents=True, exist_ok=True)
    for target in targets:
        corpus = ROOT / "tests/fuzz" / target.name.removesuffix("_fuzz")
        work = BUILD / "fuzz/corpus" / target.name
        work.mkdir(parents=True, exist_ok=True)
        log = LOGS / f"{target.name}.log"
        with open(log, "wb") as out:
            done = subprocess.run(
                [target, f"-max_total_time={args.seconds}", "-timeout=10", "-rss_limit_mb=2048",
                 f"-artifact_prefix={work}/", work, *([corpus] if corpus.is_dir() else [])],
                stdout=out, stderr=subprocess.STDOUT)
        runs = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("Done ")]
        say(f"{target.name}: {runs[-1] if runs else 'FAILED, see ' + str(log.relative_to(ROOT))}")
        failed += done.returncode != 0
    return 1 if failed else 0


main_guard(main)
