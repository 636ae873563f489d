"""How the demo speaks to the programs: every command line of the product in one place."""
import hashlib
from pathlib import Path


def sha256_file(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def depot_init(release, folder):
    return [release.bin / "everspan-depot", "init", folder]


def depot_publish(release, folder, version, binaries):
    return [release.bin / "everspan-depot", "publish", folder, "--version", version, "--from", binaries]


def depot_serve(release, folder, listen):
    return [release.bin / "everspan-depot", "serve", folder, "--listen", listen]


def base(release, data, listen, password_file, root):
    return [release.bin / "everspan-base", "--data", data, "--listen", listen, "--site", "Demo", "--admin", "admin",
            "--password-file", password_file, "--trusted-root", root, "--initial-release", release.bin]


def agent_enrol(release, data, site, ca_file, token_file, name):
    return [release.bin / "everspan-agent", "enrol", "--data", data, "--site", site, "--ca", ca_file,
            "--token-file", token_file, "--name", name]


def agent_run(release, data):
    return [release.bin / "everspan-agent", "run", "--data", data]


class Cli:
    """The CLI with its globals; the profile folder keeps log-ins of the demo apart from the user's."""

    def __init__(self, program, site, profile):
        self.program, self.site, self.profile = Path(program), site, profile

    def __call__(self, *words, json=False):
        return [self.program, "--site", self.site, "--profile", self.profile, *(["--json"] if json else []), *words]
