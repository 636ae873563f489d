"""./dev build [PRESET] [TARGET...]: configures and builds one preset, quietly."""
import argparse

from devlib import build, main_guard, say


def main():
    parser = argparse.ArgumentParser(prog="./dev build")
    parser.add_argument("preset", nargs="?", default="release",
                        choices=["release", "dev", "tsan", "fuzz"])
    parser.add_argument("targets", nargs="*", default=["all"])
    args = parser.parse_args()
    folder = build(args.preset, args.targets or ["all"])
    say(f"built {folder}")
    return 0


main_guard(main)
