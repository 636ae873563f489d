"""How the demo speaks to the programs: every command line of the product in one place."""
import hashlib
from pathlib import Path


def sha256_file(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


PROGRAMS = ("everspan-site", "everspan-base", "everspan-agent", "everspan-session-host", "everspan")


def depot_init(release, folder):
    return [release.bin / "everspan-depot", "init", "--dir", folder]


def package_name(version):
    return f"everspan-site-{version}.package"


def depot_build(release, version, binaries, out):
    """The programs of a release, in bin/ of the package."""
    files = [Path(binaries) / name for name in PROGRAMS if (Path(binaries) / name).is_file()]
    return [release.bin / "everspan-depot", "build-package", "--kind", "site", "--version", version, "--out", out, *files]


def depot_publish(release, folder, package):
    return [release.bin / "everspan-depot", "publish", "--dir", folder, package]


def depot_serve(release, folder, listen):
    """Without TLS, as on loopback only: every file is signed, and checked against the trusted root."""
    return [release.bin / "everspan-depot", "serve", "--dir", folder, "--listen", listen, "--plain-http"]


def depot_root(folder):
    return Path(folder) / "root.json"


def base(release, data, listen, password_file, root):
    return [release.bin / "everspan-base", "--data", data, "--listen", listen, "--site", "Demo", "--admin", "admin",
            "--password-file", password_file, "--trusted-root", root,
            "--initial-release", release.bin / "everspan-site"]


def base_join(release, data, listen, root):
    """A node without a site, which another one ships its own to."""
    return [release.bin / "everspan-base", "--data", data, "--listen", listen, "--join", "--trusted-root", root,
            "--initial-release", release.bin / "everspan-site"]


def ca_of(data):
    """The file that base tells people to give to clients, or None while there is none."""
    path = Path(data) / "node/ca.pem"
    return path if path.is_file() and path.stat().st_size > 0 else None


def agent_enrol(release, data, site, token_file, name):
    return [release.bin / "everspan-agent", "enrol", "--data", data, "--site", site, "--token-file", token_file,
            "--name", name]


def agent_run(release, data):
    return [release.bin / "everspan-agent", "run", "--data", data]


def login(cli, ca_file, password_file, area):
    return cli("login", "--ca", ca_file, "--password-file", password_file, "--area", area, "admin")


def set_source(cli, url):
    return cli("updates", "source", url)


def refresh(cli):
    return cli("updates", "check")


def plan(cli, version, method=None):
    return cli("upgrade", "plan", "--to", version, *(["--method", method] if method else []))


def apply(cli, version, soak_s, method=None):
    return cli("--yes", "upgrade", "apply", "--to", version, "--soak", f"{soak_s}s", "--finalize",
               *(["--method", method] if method else []))


class Cli:
    """The CLI with its globals; the profile folder keeps log-ins of the demo apart from the user's."""

    def __init__(self, program, site, profile):
        self.program, self.site, self.profile = Path(program), site, profile

    def __call__(self, *words, json=False):
        return [self.program, "--site", self.site, "--profile", self.profile, *(["--json"] if json else []), *words]
