"""Releases that can be run: pinned ones by commit (releases.toml), and the working tree as `next`.

    releases.py list | build VERSION

A pinned release is built from exactly its commit, once, into .cache/releases/COMMIT (or
$XDG_CACHE_HOME/everspan/releases), without tests. `next` is build/release.
"""
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from devlib import BUILD, ROOT, DevError, FileLock, build, main_guard, run_logged, say

PROGRAMS = ("everspan-base", "everspan-site", "everspan-agent", "everspan-session-host", "everspan-depot",
            "everspan-tuf", "everspan")
FALLBACK_WORD = "dev"


@dataclass
class Release:
    version: str
    commit: str | None  # None: the working tree
    bin: Path
    note: str = ""


def pinned():
    with open(ROOT / "releases.toml", "rb") as file:
        data = tomllib.load(file)
    return data["next"], [(r["version"], r["commit"]) for r in data.get("release", [])]


def cache_dir():
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base) / "everspan/releases" if base else ROOT / ".cache/releases"


def _complete(folder):
    return (folder / "complete").is_file()


def build_pinned(version, commit):
    """The programs of a commit; the folder is whole or absent."""
    folder = cache_dir() / commit
    if _complete(folder):
        return Release(version, commit, folder / "bin")
    with FileLock(cache_dir() / f".{commit}.lock", f"build of release {version}"):
        if _complete(folder):
            return Release(version, commit, folder / "bin")
        shutil.rmtree(folder, ignore_errors=True)
        source = folder / "src"
        source.mkdir(parents=True)
        archive = subprocess.Popen(["git", "archive", "--format=tar", commit], cwd=ROOT, stdout=subprocess.PIPE)
        unpack = subprocess.run(["tar", "-x", "-C", str(source)], stdin=archive.stdout, check=False)
        if archive.wait() != 0 or unpack.returncode != 0:
            shutil.rmtree(folder, ignore_errors=True)
            raise DevError(f"commit {commit} of release {version} is not in this repository "
                           "(a shallow clone? git fetch --unshallow)", 3)
        say(f"Building release {version} ({commit[:12]}), once")
        # The same place below its source as any build: the compiler cache then knows most objects.
        built = build("release", ("programs",), version=version, folder=source / "build/release", source=source,
                      defines=("EVERSPAN_TESTS=OFF",), name=f"release-{version}")
        (folder / "bin").mkdir()
        for name in PROGRAMS:
            if (built / "bin" / name).is_file():
                run_logged(f"strip-{name}", ["objcopy", "--strip-debug", str(built / "bin" / name),
                                             str(folder / "bin" / name)])
        shutil.rmtree(source)
        (folder / "complete").write_text(version + "\n")
    return Release(version, commit, folder / "bin")


def build_next(no_build=False, targets=("programs", "load_end", "bad_site")):
    version, _ = pinned()
    if not no_build:
        build("release", targets, version=version)
    return Release(version, None, BUILD / "release/bin")


def build_fallback(no_build=False):
    """The working tree once more under a higher number: only until a release is pinned."""
    version, _ = pinned()
    major, minor, patch = (int(part) for part in version.split("-")[0].split("."))
    version = f"{major}.{minor}.{patch + 1}-{FALLBACK_WORD}"
    folder = BUILD / "fallback"
    if not no_build:
        build("release", ("programs",), version=version, folder=folder, defines=("EVERSPAN_TESTS=OFF",))
    return Release(version, None, folder / "bin", "no release is pinned: the working tree under two numbers")


def pair(from_version=None, to_version=None, no_build=False):
    """(from, to): the newest pinned release and the working tree, or those that were asked for."""
    upcoming, releases = pinned()
    if not releases and not from_version and not to_version:
        return build_next(no_build), build_fallback(no_build)

    def find(version):
        if version == upcoming:
            return build_next(no_build)
        for known, commit in releases:
            if known == version:
                return build_pinned(known, commit)
        known = ", ".join([v for v, _ in releases] + [upcoming])
        raise DevError(f"no release {version}; there are: {known}", 2)

    if not releases and not from_version:
        raise DevError("no release is pinned in releases.toml; say --from and --to", 2)
    old = find(from_version or releases[-1][0])
    new = find(to_version or upcoming)
    build_next(no_build, ("load_end", "bad_site"))
    for release in (old, new):
        if not (release.bin / "everspan-site").is_file():
            raise DevError(f"release {release.version} is not built ({release.bin}); run without --no-build", 3)
    return old, new


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "build":
        upcoming, releases = pinned()
        version = sys.argv[2]
        commit = dict(releases).get(version)
        release = build_next() if version == upcoming else build_pinned(version, commit) if commit else None
        if release is None:
            raise DevError(f"no release {version} in releases.toml", 2)
        say(f"{release.version}: {release.bin}")
    else:
        upcoming, releases = pinned()
        for version, commit in releases:
            say(f"{version}  {commit}  {'built' if _complete(cache_dir() / commit) else 'not built'}")
        say(f"{upcoming}  the working tree")
    return 0


if __name__ == "__main__":
    main_guard(main)
