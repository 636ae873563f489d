"""./dev bench [NAME...] [--no-build] [-- ARGUMENT...]: runs bench/NAME.py or the benchmark program NAME.

A benchmark prints its own table, and beside each figure its peer or limit from the same run.
"""
import os
import subprocess
import sys

from devlib import BUILD, ROOT, DevError, build, main_guard, say


def main():
    words, rest = sys.argv[1:], []
    if "--" in words:
        at = words.index("--")
        words, rest = words[:at], words[at + 1:]
    if "--help" in words or "-h" in words:
        say(__doc__)
        return 0
    if "--no-build" in words:
        words.remove("--no-build")
    else:
        build("release")
    known = {path.stem: ["/usr/bin/python3", "-B", str(path)] for path in sorted((ROOT / "bench").glob("*.py"))
             if not path.stem.startswith("_")}
    known |= {path.name: [str(path)] for path in sorted((BUILD / "release/bench").glob("*"))
              if path.is_file() and os.access(path, os.X_OK)}
    if not known:
        raise DevError("there is no benchmark yet in bench/", 2)
    unknown = [word for word in words if word not in known]
    if unknown:
        raise DevError(f"no benchmark {unknown[0]}; there are: {', '.join(known)}", 2)
    codes = []
    for name in words or known:
        say(f"== {name}")
        env = dict(os.environ, EVERSPAN_BUILD=str(BUILD / "release"))
        codes.append(subprocess.run([*known[name], *rest], env=env).returncode)
    return 1 if any(codes) else 0


main_guard(main)
