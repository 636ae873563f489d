"""./dev sim: the simulations of tests/sim, one program a scenario.

--planted NAME: runs with that bug planted; exit 1 and the seed when it was found, 0 when it was not.
"""
import argparse
import os
import subprocess

from devlib import DevError, build, main_guard, say, test_list


def scenarios(folder):
    return {name.removesuffix("_sim_test"): path for kind, name, path in test_list(folder) if kind == "sim"}


def planted_of(path):
    done = subprocess.run([path, "--list-planted"], capture_output=True, text=True, check=True)
    return done.stdout.split()


def main():
    parser = argparse.ArgumentParser(prog="./dev sim")
    parser.add_argument("--scenario", metavar="NAME")
    parser.add_argument("--seeds", type=int, default=2000, metavar="N")
    parser.add_argument("--seed", type=int, metavar="S", help="one seed only: replays a failure")
    parser.add_argument("--planted", metavar="NAME")
    parser.add_argument("--list-planted", action="store_true")
    parser.add_argument("--no-build", action="store_true")
    args = parser.parse_args()
    folder = build("release", ("sim_tests",)) if not args.no_build else build_folder()
    known = scenarios(folder)
    chosen = known
    if args.scenario:
        if args.scenario not in known:
            raise DevError(f"no scenario {args.scenario}; there are: {', '.join(sorted(known))}", 2)
        chosen = {args.scenario: known[args.scenario]}
    if args.list_planted:
        for name, path in sorted(chosen.items()):
            for bug in planted_of(path):
                say(f"{name}: {bug}")
        return 0
    env = dict(os.environ, EVERSPAN_SEEDS=str(args.seeds))
    if args.seed is not None:
        env["EVERSPAN_SEED"] = str(args.seed)
    if args.planted:
        chosen = {name: path for name, path in chosen.items() if args.planted in planted_of(path)}
        if not chosen:
            raise DevError(f"no planted bug {args.planted}; ./dev sim --list-planted", 2)
        env["EVERSPAN_PLANTED"] = args.planted
    codes = [subprocess.run([path], env=env).returncode for _, path in sorted(chosen.items())]
    return 1 if any(codes) else 0


def build_folder():
    from devlib import BUILD
    if not (BUILD / "release/tests.txt").is_file():
        raise DevError("build/release is not configured; run without --no-build", 3)
    return BUILD / "release"


if __name__ == "__main__":
    main_guard(main)
