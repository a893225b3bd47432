"""A container of the image, run as a careful pod runs it, and what one asks of it. Standard library only.

It knows how to start one, speak HTTP with it, read its cgroup and end it. What is expected stands in
`smoke`, what is measured in `measure`.
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid

IMAGE = os.environ.get("IMAGE", "localhost/opencode-sidecar:latest")

# Told to end, a program here still takes its containers with it.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

def sh(*command, check=True, seconds=60):
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()


def wait(what, condition, seconds=60, pause=0.05):
    """The first true value of `condition`, or an error that says what was waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(pause)
    raise TimeoutError(f"waited {seconds} s for {what}")


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def script(*lines):
    """A prompt that the demo model plays."""
    return "```script\n" + "\n".join(lines) + "\n```"


def bash(command):
    return "tool bash " + json.dumps({"command": command, "description": "smoke"})


class Client:
    """HTTP on loopback. Every answer has a deadline."""

    def __init__(self, port, token=None):
        self.port = port
        self.headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})

    def ask(self, method, path, body=None, seconds=30):
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            link.request(method, path, None if body is None else json.dumps(body), self.headers)
            answer = link.getresponse()
            return answer.status, dict(answer.getheaders()), json.loads(answer.read() or b"null")
        finally:
            link.close()

    def try_get(self, path):
        try:
            return self.ask("GET", path, seconds=3)[0]
        except (OSError, http.client.HTTPException):
            return 0

    def ready(self):
        return self.try_get("/ready") == 200

    def create(self, prompt, session=None, seconds=60):
        body = {"session_id": session or str(uuid.uuid4()), "prompt": prompt, "model_config": {"provider": "demo", "model": "demo"}}
        status, headers, answer = self.ask("POST", "/sessions", body, seconds)
        return status, headers, answer

    def events(self, session, seconds=120, after=None):
        """All events of a session, or those after one, until its terminal one."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        end, found, event = time.monotonic() + seconds, [], {}
        try:
            link.request("GET", f"/sessions/{session}/stream", headers=self.headers | ({"last-event-id": after} if after else {}))
            stream = link.getresponse()
            for raw in stream:
                if time.monotonic() > end:
                    raise TimeoutError(f"session {session} did not end in {seconds} s")
                line = raw.decode().rstrip("\n")
                if line.startswith("event: "):
                    event["event"] = line[7:]
                elif line.startswith("data: "):
                    event["data"] = json.loads(line[6:])
                elif not line and event:
                    found.append(event)
                    data, kind = event.get("data", {}), event.get("event")
                    if kind == "complete" or data.get("fatal") or data.get("status") == "cancelled":
                        return found
                    event = {}
            raise RuntimeError(f"the stream of {session} ended without a terminal event: {found[-2:]}")
        finally:
            link.close()

    def turn(self, prompt, seconds=120):
        """One session from its creation to its end: its events."""
        status, _, answer = self.create(prompt)
        if status != 201:
            raise RuntimeError(f"a session was refused with {status}: {answer}")
        return self.events(answer["session_id"], seconds)


class Box(Client):
    """One container. Use it with `with`: its end is certain."""

    def __init__(self, *options, memory="1g", cpus=None, network="host", env=(), command=()):
        super().__init__(free_port())
        self.name = f"sidecar-smoke-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.dir = tempfile.mkdtemp(prefix="sidecar-box-")
        self.workspace = os.path.join(self.dir, "workspace")
        os.mkdir(self.workspace)
        os.chown(self.workspace, 10001, 10001)
        # The hosts of CI and of developers allow less than podman asks for by itself: hence the ulimits.
        self.options = [
            "--no-healthcheck", "--network", network, "--read-only", "--read-only-tmpfs=false", "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges", "--memory", memory, "--memory-swap", memory,
            "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=2048:2048",
            "--tmpfs", "/tmp:rw,nosuid,nodev,size=64m,mode=1777",
            "--volume", f"{self.workspace}:/workspace",
            # On the disk, as an emptyDir is: a tmpfs would count as memory.
            "--mount", "type=volume,destination=/var/lib/opencode-sidecar",
            "--env", "HOST=127.0.0.1", "--env", f"PORT={self.port}", "--env", "DEMO_MODEL=on",
        ]  # fmt: skip
        if cpus:
            self.options += ["--cpus", str(cpus)]
        for pair in env:
            self.options += ["--env", pair]
        self.options += options
        self.command = command

    def __enter__(self):
        self.began = time.monotonic()
        try:
            sh("podman", "run", "--detach", "--name", self.name, *self.options, IMAGE, *self.command)
            self.pid = int(sh("podman", "inspect", "--format", "{{.State.Pid}}", self.name))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, error, trace):
        if error is not None:
            subprocess.run(["podman", "logs", "--tail", "30", self.name], check=False, timeout=30)
        sh("podman", "rm", "--force", "--volumes", "--time", "2", self.name, check=False)
        sh("rm", "-rf", self.dir)

    def until_ready(self, seconds=90):
        wait("/ready", self.ready, seconds)
        return time.monotonic() - self.began

    def inside(self, *command, check=True):
        return sh("podman", "exec", self.name, *command, check=check)

    def stop(self, seconds):
        """SIGTERM, at most `seconds` until SIGKILL: the exit code and how long it took."""
        began = time.monotonic()
        sh("podman", "stop", "--time", str(seconds), self.name, seconds=seconds + 20)
        took = time.monotonic() - began
        return int(sh("podman", "inspect", "--format", "{{.State.ExitCode}}", self.name)), took

    # What the kernel counts, in bytes.

    def cgroup(self, file):
        for line in open(f"/proc/{self.pid}/cgroup", encoding="ascii"):
            _, controllers, path = line.strip().split(":", 2)
            if controllers == "memory":
                return open(f"/sys/fs/cgroup/memory{path}/{file}", encoding="ascii").read()
            if controllers == "" and os.path.exists(f"/sys/fs/cgroup{path}/memory.current"):
                two = {"memory.usage_in_bytes": "memory.current", "memory.max_usage_in_bytes": "memory.peak", "memory.oom_control": "memory.events"}
                return open(f"/sys/fs/cgroup{path}/{two.get(file, file)}", encoding="ascii").read()
        raise RuntimeError("the container has no memory cgroup")

    def memory(self):
        """The working set, as the kubelet counts it, and its anonymous part, which no pressure gives back."""
        stat = dict(line.split() for line in self.cgroup("memory.stat").splitlines())
        inactive = int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
        anonymous = int(stat.get("total_rss", stat.get("anon", 0)))
        return int(self.cgroup("memory.usage_in_bytes")) - inactive, anonymous

    def engine(self):
        return self.ask("GET", "/engine/status")[2]


class Peak(threading.Thread):
    """The highest working set while it runs, looked at ten times a second."""

    def __init__(self, box):
        super().__init__(daemon=True)
        self.box, self.highest, self.done = box, 0, threading.Event()
        self.start()

    def run(self):
        while not self.done.wait(0.1):
            try:
                self.highest = max(self.highest, self.box.memory()[0])
            except (OSError, RuntimeError):
                return

    def end(self):
        self.done.set()
        self.join(5)
        return self.highest
