"""A signed package whose everspan-site is really bad in one way (tests/tools/bad_site.cc)."""
import os
import shutil
import struct
from pathlib import Path

KINDS = ("exit", "hang", "unhealthy", "crashloop", "sick-after-switch")


def make(kind, good_bin, launcher, folder):
    """A copy of `good_bin` in `folder`, with everspan-site wrapped."""
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good_bin, folder)
    site = folder / "everspan-site"
    real = site.read_bytes()
    trailer = struct.pack("<Q", len(real)) + kind.encode().ljust(32, b"\0") + b"EVSPBAD1"
    site.unlink()
    site.write_bytes(Path(launcher).read_bytes() + real + trailer)
    os.chmod(site, 0o755)
    return folder
