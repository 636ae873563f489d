"""What relaying costs: the site's relay beside HAProxy, in one run, round by round.

    ./dev bench relay [-- --rounds N --seconds S --streams 1,64 --policies off,strict --old VERSION=DIR]

The relay (a site process with all its threads: TLS, frames, recorder) is pinned to core 0, the generator to core 1.
Both legs are TLS 1.3. CPU is the scheduler's count of all threads of the relay's process
(/proc/PID/task/*/schedstat), so waiting for a core costs nothing. Every byte that arrives is counted and compared.
Recording `off` keeps byte counts, `metadata` lengths and a SHA-256 of each piece, `strict` writes every byte to disk.
MB/s is what this generator got through on its one core, which is often its own limit; CPU s/GB is the figure.
"""
import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _bench_site import (BUILD, INSTANCE, BenchSite, Child, DevError, Load, become_subreaper, cpu_ns, find_releases,
                         kill_children, main_guard, quantile, say, tools)

RELAY_CORE, LOAD_CORE = 0, 1
FRONT, BACK = f"127.77.{INSTANCE}.21:9443", f"127.77.{INSTANCE}.22:9443"
GOALS = {1: 0.85, 64: 0.70}
WARM_S = 0.5

HAPROXY = """global
  nbthread 1
  maxconn 1000
  tune.ssl.default-dh-param 2048
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-bind-curves X25519
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  mode tcp
  timeout connect 10s
  timeout client 10m
  timeout server 10m
listen relay
  bind {front} ssl crt {pem}
  server back {back} ssl verify none no-ssl-reuse
"""


class Haproxy:
    """Debian's HAProxy with its default buffers, as in docs/performance.md."""

    name = "haproxy"

    def __init__(self, folder):
        self.folder = folder
        self.certificate, self.key = folder / "peer.crt", folder / "peer.key"
        host = FRONT.partition(":")[0]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", "/CN=bench", "-addext", f"subjectAltName=IP:{host}", "-keyout", self.key,
                        "-out", self.certificate], check=True, capture_output=True)
        pem = folder / "peer.pem"
        pem.touch(mode=0o600)
        pem.write_text(self.certificate.read_text() + self.key.read_text())
        config = folder / "haproxy.cfg"
        config.write_text(HAPROXY.format(front=FRONT, back=BACK, pem=pem))
        program = shutil.which("haproxy") or "/usr/sbin/haproxy"
        if not Path(program).is_file():
            raise DevError("haproxy is not installed (apt-get install haproxy)", 3)
        self.child = Child("haproxy", ["taskset", "-c", str(RELAY_CORE), program, "-db", "-f", config],
                           folder / "haproxy.log")

    def pid(self):
        if not self.child.alive():
            raise DevError(f"haproxy ended\n{self.child.tail()}")
        return self.child.pid

    def load(self, streams):
        return Load(["taskset", "-c", str(LOAD_CORE), tools() / "tls_load", "--front", FRONT, "--back", BACK,
                     "--certificate", self.certificate, "--key", self.key, "--streams", streams],
                    self.folder / "tls_load.log", None, 30)

    def stop(self):
        self.child.stop()


class Everspan:
    def __init__(self, site, policy):
        self.site, self.policy, self.name = site, policy, f"everspan, {policy}"

    def pid(self):
        return self.site.site_pid()

    def load(self, streams):
        self.site.set_recording(self.policy)
        return self.site.load(streams, "--bulk", core=str(LOAD_CORE))


def measure(contestant, streams, seconds):
    """One round: (CPU s/GB, MB/s, share of a core)."""
    load = contestant.load(streams)
    try:
        pid = contestant.pid()
        time.sleep(WARM_S)  # Windows and buffers grow to their size; not a wait for a condition.
        load.begin()
        cpu = cpu_ns(pid)
        time.sleep(seconds)  # The length of the measurement.
        report = load.report()
        cpu = cpu_ns(pid) - cpu
        load.finish()
    finally:
        load.kill()
    if report["bytes"] == 0:
        raise DevError(f"{contestant.name}: nothing arrived in {seconds} s")
    return cpu / report["bytes"], report["bytes"] / report["window_s"] / 1e6, cpu / 1e9 / report["window_s"]


def three(values, digits):
    return "/".join(f"{v:.{digits}f}" for v in (min(values), quantile(values, 0.5), max(values)))


def main():
    parser = argparse.ArgumentParser(prog="./dev bench relay --", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--streams", default="1,64")
    parser.add_argument("--policies", default="off,metadata,strict", help="of recording")
    parser.add_argument("--old", metavar="VERSION=DIR", help="programs to measure; else the working tree's")
    args = parser.parse_args()
    sizes = [int(text) for text in args.streams.split(",")]
    become_subreaper()
    release = find_releases(args.old or f"next={BUILD / 'release/bin'}", None)[0]
    folder = Path(tempfile.mkdtemp(prefix="everspan-bench-"))
    folder.chmod(0o711)  # The site runs as a user of its own.
    site = BenchSite(folder / "site", release, release, pin=RELAY_CORE)
    try:
        if release.version == "next":
            site.old.version = site.new.version = "0.0.1"
        site.start("off")
        haproxy = Haproxy(folder)
        site.wait_port(FRONT, haproxy.child)
        contestants = [haproxy, *(Everspan(site, policy) for policy in args.policies.split(","))]
        say(f"{'':22} {'streams':>7} {'CPU s/GB':>17} {'MB/s':>15} {'core':>5} {'ratio of CPU':>16}  min/median/max")
        for streams in sizes:
            results = {contestant.name: [] for contestant in contestants}
            for _ in range(args.rounds):
                for contestant in contestants:
                    results[contestant.name].append(measure(contestant, streams, args.seconds))
            show(streams, results)
        haproxy.stop()
    finally:
        site.tear_down()
        kill_children()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def show(streams, results):
    """Ratios are taken round by round, so a slow moment of the machine hits both."""
    peer = [row[0] for row in results["haproxy"]]
    for name, rows in results.items():
        ratios = [row[0] / base for row, base in zip(rows, peer)]
        line = (f"{name:22} {streams:>7} {three([r[0] for r in rows], 2):>17} {three([r[1] for r in rows], 0):>15} "
                f"{quantile([r[2] for r in rows], 0.5):>5.2f} {three(ratios, 2):>16}")
        goal = GOALS.get(streams)
        if goal and name != "haproxy":
            line += f"  goal {goal:.2f}: {'reached' if quantile(ratios, 0.5) <= goal else 'missed'}"
        say(line)


if __name__ == "__main__":
    try:
        main_guard(main)
    finally:
        sys.stdout.flush()
