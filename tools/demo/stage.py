"""The demo's stage: depot, appliance, agents, load and witnesses of what happens, in one folder.

Everything lives in DIR: {a,depot,agents,evidence,logs}. Processes are children of this one (it is a
subreaper), so that each is found and ended by its id, whatever happened.
"""
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import commands
from devlib import BUILD, DevError, kill_children, say
from https import ApiError, Client, Site
from process import TOOLS, Child, helper, wait_until

LOAD_PROCESSES = 4
AGENTS = ("desk-1", "desk-2")
COMMAND_S = 30


class Stage:
    def __init__(self, folder, instance, old, new, *, sessions, interval_ms, seed):
        self.folder, self.instance, self.old, self.new = Path(folder), instance, old, new
        self.sessions, self.interval_ms, self.seed = sessions, interval_ms, seed
        self.address = f"127.77.{instance}.1:8443"
        self.depot_address = f"127.77.{instance}.9:8443"
        self.logs, self.evidence = self.folder / "logs", self.folder / "evidence"
        self.ca_file = self.folder / "ca.pem"
        self.password_file = self.folder / "password"
        self.base, self.depot, self.agents = None, None, {}
        self.loads, self.helpers = [], {}
        self.failpoints = {}  # EVERSPAN_FAILPOINT of an appliance, by the name of its folder.
        self.depot_data = self.folder / "depot"
        self.cli = commands.Cli(old.bin / "everspan", self.address, "demo")
        self.env = dict(os.environ, EVERSPAN_DATA=str(self.folder / "cli"))
        for name in ("EVERSPAN_SITE", "EVERSPAN_PROFILE", "EVERSPAN_PASSWORD_FILE"):
            self.env.pop(name, None)

    # ---- small things ----
    def run(self, command, *, check=True, seconds=COMMAND_S, secret=None):
        """A command of the product; its standard output. Said and kept in logs/commands.log."""
        words = [str(word) for word in command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, env=self.env,
                              input=secret or "", cwd=self.folder)
        with open(self.logs / "commands.log", "a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(words)}\n{done.stdout}{done.stderr}[{done.returncode}]\n")
        if check and done.returncode != 0:
            raise DevError(f"{' '.join(words)}\nended with {done.returncode}: {(done.stderr or done.stdout)[-800:]}")
        return done

    def run_cli(self, *words, **options):
        return self.run(self.cli(*words), **options)

    def mark(self, name):
        with open(self.evidence / "marks.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"mark": name, "t_ns": time.monotonic_ns()}) + "\n")

    def client(self, timeout=10):
        """The site's API, at whichever appliance serves."""
        client = Site(self.addresses(), self.ca_file, timeout)
        client.login("admin", self.password_file.read_text().strip())
        return client

    # ---- building it up ----
    def prepare(self):
        for part in ("a", "depot", "agents", "evidence", "logs", "cli", "bad", "packages"):
            shutil.rmtree(self.folder / part, ignore_errors=True)
        for part in ("agents", "evidence/recordings", "logs"):
            (self.folder / part).mkdir(parents=True)
        for address in (self.address, self.depot_address):
            self.check_free(address)
        fd = os.open(self.password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(secrets.token_urlsafe(18) + "\n")

    @staticmethod
    def check_free(address):
        host, _, port = address.rpartition(":")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, int(port)))
            except OSError as error:
                raise DevError(f"{address}: {error.strerror}. Another demo? Try --instance N", 3) from error

    def start_depot(self):
        self.run(commands.depot_init(self.old, self.depot_data))
        self.publish(self.old, self.old.bin)
        self.depot = Child("depot", commands.depot_serve(self.old, self.depot_data, self.depot_address),
                           self.logs / "depot.log", env=self.env)
        self.wait_port(self.depot_address, self.depot)

    def publish(self, release, binaries, version=None):
        """Packs and signs `binaries` as a release, with that release's own depot tool."""
        version = version or release.version
        package = self.folder / "packages" / commands.package_name(version)
        package.parent.mkdir(exist_ok=True)
        self.run(commands.depot_build(release, version, binaries, package), seconds=120)
        self.run(commands.depot_publish(release, self.depot_data, package), seconds=120)
        return package

    def wait_port(self, address, child, seconds=20):
        host, _, port = address.rpartition(":")

        def open_port():
            if not child.alive():
                raise DevError(f"{child.name} ended (status {child.process.poll()})\n{child.tail()}")
            with socket.socket() as probe:
                probe.settimeout(1)
                return probe.connect_ex((host, int(port))) == 0

        wait_until(open_port, seconds, f"{child.name} at {address}")

    def start_base(self, release=None):
        root = commands.depot_root(self.depot_data)
        self.base = Child("base", self.at_node("a", commands.base(release or self.old, self.folder / "a", self.address,
                                                                  self.password_file, root)),
                          self.logs / "base.log", env=self.base_env("a"))
        (self.folder / "base.pid").write_text(str(self.base.pid))

    def at_node(self, which, command):
        """The command as it is started on that appliance's machine; here all are on this one."""
        return command

    def base_env(self, which):
        return self.env | ({"EVERSPAN_FAILPOINT": self.failpoints[which]} if which in self.failpoints else {})

    def start_site(self, cli=True):
        self.start_base()
        self.wait_port(self.address, self.base)
        shutil.copy(wait_until(lambda: commands.ca_of(self.folder / "a"), 20, "the site's CA file"), self.ca_file)

        def ready():
            try:
                return Client(self.address, self.ca_file, 2).call("GET", "/readyz") is not None
            except (OSError, ApiError):
                return False

        wait_until(ready, 20, "the site to be ready")
        if not cli:
            return
        self.run(commands.login(self.cli, self.ca_file, self.password_file, "site"))
        self.run(commands.login(self.cli, self.ca_file, self.password_file, "appliance"))
        self.run(commands.set_source(self.cli, f"http://{self.depot_address}"))

    def start_backup(self):
        """Nothing on one appliance; see PairStage."""

    def start_agent(self, name):
        self.agents[name] = Child(name, commands.agent_run(self.old, self.folder / "agents" / name),
                                  self.logs / f"{name}.log", env=self.env)

    def start_agents(self):
        for name in AGENTS:
            token = json.loads(self.run(self.cli("endpoint", "enrol-token", json=True)).stdout)["token"]
            token_file = self.folder / "agents" / f"{name}.token"
            fd = os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(fd, "w") as file:
                file.write(token + "\n")
            self.run(commands.agent_enrol(self.old, self.folder / "agents" / name, f"https://{self.address}",
                                          token_file, name))
            token_file.unlink()
            self.start_agent(name)

        def online():
            rows = json.loads(self.run(self.cli("endpoint", "list", json=True)).stdout)["endpoints"]
            return sum(1 for row in rows if row["online"]) == len(AGENTS)

        wait_until(online, 20, "both agents to be online", every=0.2)

    # ---- load and witnesses ----
    def load_end(self):
        return BUILD / "release/tools/load_end"

    def start_load(self):
        share = [self.sessions // LOAD_PROCESSES + (1 if i < self.sessions % LOAD_PROCESSES else 0)
                 for i in range(LOAD_PROCESSES)]
        for i, count in enumerate(share):
            if count == 0:
                continue
            prefix = f"c{i + 1}"
            far = [self.load_end(), "agent", "--session", "{session}", "--seed", "{seed}", "--interval-ms",
                   self.interval_ms, "--evidence", self.evidence / "agent-{session}.jsonl"]
            command = [self.load_end(), "console", "--prefix", prefix, "--sessions", count, "--interval-ms",
                       self.interval_ms, "--seed", self.seed * 100 + i, "--evidence",
                       self.evidence / f"console-{prefix}.jsonl", "--errors", self.logs / f"{prefix}.err", "--",
                       *self.cli("connect", AGENTS[i % len(AGENTS)], "-T", "--", *far)]
            self.loads.append(Child(f"load {prefix}", command, self.logs / f"load-{prefix}.log", interactive=True,
                                    env=self.env))
        for load in self.loads:
            load.expect("ready", 90)

    def addresses(self):
        """Of all appliances, for who asks another one when one is away."""
        return ",".join(self.nodes().values())

    def nodes(self):
        """Address of each appliance, by the name of its folder."""
        return {"a": self.address}

    def bases(self):
        return {"base": self.base}

    def revive_bases(self):
        """Starts again what died by itself, as systemd would."""
        if not self.base.alive():
            print(f"base ended with {self.base.process.poll()}; a fresh one starts")
            self.start_base()

    def heal_in_time(self):
        """Whether a line that a test cut is still cut; there is none here."""
        return False

    def restart_base(self, which):
        """Kill -9, and again, as systemd would."""
        self.base.process.kill()
        self.base.process.wait()
        self.start_base()

    def base_pid_files(self):
        return str(self.folder / "base.pid")

    def start_witnesses(self, write_ms=10, probes=50, person=True):
        login = self.folder / "login.json"
        fd = os.open(login, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump({"account": "admin", "password": self.password_file.read_text().strip()}, file)
        environment = os.environ.copy()
        os.environ.update(self.env)
        self.helpers["sampler"] = helper("sampler", "sampler.py", [self.evidence, self.base_pid_files(),
                                                                   os.getpid()], self.logs / "sampler.log")
        if write_ms:
            self.helpers["writer"] = helper("writer", "writer.py", [self.addresses(), self.ca_file, login, self.evidence,
                                                                    write_ms], self.logs / "writer.log")
        if probes:
            self.helpers["prober"] = helper("prober", "prober.py", [self.addresses(), self.ca_file, self.evidence, probes],
                                            self.logs / "prober.log")
        if person:
            self.helpers["person"] = helper("person", "person.py",
                                            [self.evidence, 300, *self.cli("connect", AGENTS[0])],
                                            self.logs / "person.log")
        os.environ.clear()
        os.environ.update(environment)

    def check_witnesses(self):
        for child in [*self.loads, *self.helpers.values()]:
            for line in child.poll_lines():
                if line.startswith(("dropped", "failed")):
                    say(f"  {child.name}: {line}")
            if not child.alive():
                raise DevError(f"{child.name} ended by itself (status {child.process.poll()})\n{child.tail()}")

    def stop_load(self):
        """Asks every session to finish and waits until each byte has arrived. Never raises for a
        loss: that is for the evidence to say."""
        self.mark("stop")
        if "person" in self.helpers:
            self.helpers["person"].ask_stop()
        for load in self.loads:
            load.ask_stop()
        for child in [*self.loads, *([self.helpers["person"]] if "person" in self.helpers else [])]:
            if child.wait(45) is None:
                say(f"  {child.name} did not end in time")
                child.kill()
        for name in ("writer", "prober", "sampler"):
            child = self.helpers.get(name)
            if child:
                child.ask_stop()
                if child.wait(60) is None:
                    say(f"  {name} did not end in time\n{child.tail()}")
                    child.kill()
                elif child.process.poll() != 0:
                    say(f"  {name} ended with {child.process.poll()}\n{child.tail()}")

    def collect_recordings(self, seconds=15):
        """Has each recording verified by each appliance, and keeps the answers."""
        deadline = time.monotonic() + seconds
        with open(self.evidence / "recordings/verify.jsonl", "w", encoding="utf-8") as file:
            for client in self.client().clients:
                for row in client.call("GET", "/api/v1/recordings")["recordings"]:
                    if time.monotonic() > deadline:
                        return
                    answer = client.call("GET", f"/api/v1/recordings/{row['session']}/verify")
                    file.write(json.dumps(dict(answer, session=row["session"], node=client.host)) + "\n")

    def write_run(self, method, new_digests, expect):
        digest = commands.sha256_file(self.old.bin / "everspan-site")
        with open(self.evidence / "run.json", "w", encoding="utf-8") as file:
            json.dump({"method": method, "seed": self.seed, "sessions": self.sessions,
                       "interval_ms": self.interval_ms, "expect": expect,
                       "from": {"version": self.old.version, "site_sha256": [digest]},
                       "to": {"version": self.new.version, "site_sha256": new_digests}}, file)

    def write_demo_json(self):
        pids = ({"depot": self.depot.pid} | {name: child.pid for name, child in self.bases().items()}
                | {n: c.pid for n, c in self.agents.items()})
        urls = {name: f"https://{address}" for name, address in self.nodes().items()}
        urls["depot"] = f"http://{self.depot_address}"
        data = {name: str(self.folder / name) for name in self.nodes()} | {"depot": str(self.depot_data)}
        path = self.folder / "demo.json"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump({"urls": urls,
                       "ca_file": str(self.ca_file), "login": "admin", "password_file": str(self.password_file),
                       "pids": pids, "data": data,
                       "releases": {"from": self.old.version, "to": self.new.version},
                       "cli": [str(word) for word in self.cli()], "cli_data": self.env["EVERSPAN_DATA"]}, file,
                      indent=1)

    # ---- killing, for chaos and the kill tables ----
    def kill_one(self, victim, random, which=None):
        """kill -9. Base and agents are started again, as systemd would; a site is base's affair."""
        which = which or random.choice(sorted(self.nodes()))
        if victim == "agent":
            name = random.choice(AGENTS)
            self.agents[name].process.kill()
            self.agents[name].process.wait()
            self.start_agent(name)
        elif victim == "base":
            self.restart_base(which)
        else:
            slots = [slot for slot in self.slots(self.nodes()[which]) if slot["role"] == "active" or victim != "site"]
            roles = {"site": "active", "old": "fallback", "new": "candidate"}
            wanted = [slot["pid"] for slot in slots if slot["role"] == roles[victim]]
            for pid in wanted:
                os.kill(pid, signal.SIGKILL)
            return bool(wanted)
        return True

    def cli_at(self, address):
        """The CLI, for that appliance and no other."""
        return commands.Cli(self.cli.program, address, self.cli.profile)

    def status(self, address=None):
        """As an appliance says it; {} while it says nothing."""
        done = self.run(self.cli_at(address or self.address)("status", json=True), check=False)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def statuses(self):
        """What each appliance says of itself, as lines of evidence."""
        found = [{"status": self.status(address)} for address in self.nodes().values()]
        return [line for line in found if line["status"]]

    def slots(self, address=None):
        return self.status(address).get("slots", [])

    def wait_one_site(self, seconds):
        """Until only the active site process of each appliance is left; False when another is there in the end."""
        deadline = time.monotonic() + seconds
        while True:
            self.check_witnesses()
            found = [[slot["role"] for slot in self.slots(address)] for address in self.nodes().values()]
            alone = all(roles == ["active"] for roles in found)
            if alone or time.monotonic() > deadline:
                return alone
            time.sleep(0.3)

    def tear_down(self):
        for child in [*self.loads, *self.helpers.values(), *self.agents.values(), self.base, self.depot]:
            if child:
                child.kill()
        kill_children()

    tools = TOOLS
