"""A cluster, a broker, and the two programs as a user runs them; with kubectl to look from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.publish
import yaml

from neptune.testing.processes import Process
from tests.support.kubectl import KubectlError, kubectl
from tests.support.mosquitto import Mosquitto

#: How long a number may take to become right, restarts included (seconds).
PATIENCE = 45.0


@dataclass
class World:
    """Everything runs on this machine; `folder` holds data, state and logs.

    `account` is the kubeconfig of the controller where it is not the administrator's.
    """

    kubeconfig: Path
    namespace: str
    broker: Mosquitto
    folder: Path
    processes: dict[str, Process] = field(default_factory=dict)
    account: Path | None = None

    def __post_init__(self) -> None:
        self.data.mkdir()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def broker_url(self) -> str:
        return f"mqtt://127.0.0.1:{self.broker.port}"

    def start_cloud(self, *flags: str, name: str = "cloud-controller") -> Process:
        return self._start(
            name, "cloud-controller", "--kubeconfig", str(self.account or self.kubeconfig),
            "--namespace", self.namespace, *flags,
        )  # fmt: skip

    def start_edge(self, node: str, *flags: str) -> Process:
        return self._start(
            node, "edge-agent", "--node", node, "--root", str(self.data),
            "--state-dir", str(self.folder / node), *flags,
        )  # fmt: skip

    def start_edge_without_root_powers(self, node: str) -> Process:
        """Start an agent that file modes stop: root without the two capabilities that ignore them."""
        dropped = "-dac_override,-dac_read_search"
        wrapper = ["/usr/bin/setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}"]
        return self._start(
            node, "edge-agent", "--node", node, "--root", str(self.data),
            "--state-dir", str(self.folder / node), wrapper=wrapper if os.geteuid() == 0 else (),
        )  # fmt: skip

    def start_second_edge(self, node: str) -> Process:
        """Start another agent of that name, as on another machine: with a state of its own."""
        return self._start(
            f"second-{node}", "edge-agent", "--node", node, "--root", str(self.data),
            "--state-dir", str(self.folder / f"second-{node}"),
        )  # fmt: skip

    def run(self, program: str, *flags: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        executable = Path(sys.executable).with_name(program)
        return subprocess.run([executable, *flags], capture_output=True, text=True, timeout=60, check=False)

    def publish(self, topic: str, payload: str) -> None:
        """Publish as anybody may on a broker without an access list."""
        paho.mqtt.publish.single(topic, payload, qos=1, hostname="127.0.0.1", port=self.broker.port)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def write(self, name: str, content: str) -> Path:
        path = self.data / name
        path.write_text(content)
        return path

    def append(self, name: str, content: str) -> None:
        with (self.data / name).open("a") as file:
            file.write(content)

    def apply(self, name: str, url: str | Path, node: str, format_: str = "txt", *, credential: str = "") -> None:
        manifest = {
            "apiVersion": "neptune.io/v1alpha1",
            "kind": "Dataset",
            "metadata": {"name": name},
            "spec": {"url": str(url), "format": format_, "nodeName": node, "credentialName": credential},
        }
        self.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def put_secret(self, name: str, **data: str) -> None:
        """Create a Secret, or put other data in the place of those that it has."""
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(secret))

    def as_account(self, namespace: str, name: str) -> Path:
        """Return a kubeconfig of a service account."""
        token = kubectl("create", "token", name, "--namespace", namespace, kubeconfig=self.kubeconfig).strip()
        config = yaml.safe_load(self.kubeconfig.read_text())
        config["users"] = [{"name": "account", "user": {"token": token}}]
        for context in config["contexts"]:
            context["context"]["user"] = "account"
        path = self.folder.with_name(f"{self.folder.name}-account.kubeconfig")
        path.write_text(yaml.safe_dump(config))
        return path

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        return kubectl("--namespace", self.namespace, *args, kubeconfig=self.kubeconfig, stdin=stdin)

    def dataset(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", "dataset", name, "-o", "json"))
        return found

    def condition(self, name: str, type_: str = "Ready") -> dict[str, Any]:
        conditions = self.dataset(name).get("status", {}).get("conditions", [])
        return next((item for item in conditions if item["type"] == type_), {})

    def expect_samples(self, name: str, samples: int) -> None:
        """Wait until the number is right, for the present generation, and Ready says so."""

        def is_right() -> bool:
            found = self.dataset(name)
            status = found.get("status", {})
            return (
                status.get("numberOfSamples") == samples
                and status.get("observedGeneration") == found["metadata"]["generation"]
                and self.condition(name).get("status") == "True"
            )

        self.until(is_right, lambda: f"{name} shows {self.dataset(name).get('status')}, not {samples}")

    def expect_reason(self, name: str, reason: str) -> dict[str, Any]:
        """Wait until the Ready condition has that reason, and return the condition."""
        self.until(
            lambda: self.condition(name).get("reason") == reason,
            lambda: f"{name} has {self.condition(name)}, not {reason}",
        )
        return self.condition(name)

    def expect_log(self, name: str, event: str) -> str:
        """Wait until a program has logged an event, and return that line."""
        self.until(lambda: event in self.log(name), lambda: f"{name} never logged {event!r}:\n{self.log(name)}")
        return next(line for line in self.log(name).splitlines() if event in line)

    def until(self, holds: Callable[[], bool], trouble: Callable[[], str], seconds: float = PATIENCE) -> None:
        deadline = time.monotonic() + seconds
        while not self._holds(holds):
            if time.monotonic() > deadline:
                raise AssertionError(trouble())
            time.sleep(0.05)

    @staticmethod
    def _holds(holds: Callable[[], bool]) -> bool:
        try:
            return holds()
        except KubectlError:  # the API server is being restarted
            return False

    def stop(self) -> None:
        for process in self.processes.values():
            process.stop(seconds=10)

    def _start(self, name: str, program: str, *flags: str, wrapper: Sequence[str] = ()) -> Process:
        executable = Path(sys.executable).with_name(program)
        argv: list[str | Path] = [*wrapper, executable, "--broker", self.broker_url, "--log-level", "debug", *flags]
        process = Process.start(argv, log=self.folder / f"{name}.log")
        self.processes[name] = process
        return process


@dataclass
class TlsWorld(World):
    """A world whose broker wants certificates, which are in `certs`."""

    certs: Path = Path()

    @property
    def broker_url(self) -> str:
        return f"mqtts://127.0.0.1:{self.broker.port}"

    def with_certificate(self, name: str) -> list[str]:
        files = {"ca-file": "ca.crt", "cert-file": f"{name}.crt", "key-file": f"{name}.key"}
        return [word for flag, file in files.items() for word in (f"--{flag}", str(self.certs / file))]

    def make(self, *words: str) -> None:
        """Run `neptune certs`."""
        done = self.run("neptune", "certs", *words, "--output-dir", str(self.certs))
        assert done.returncode == 0, done.stderr

    def cloud(self) -> Process:
        return self.start_cloud(*self.with_certificate("neptune-cloud"))

    def edge(self, node: str, *flags: str) -> Process:
        return self.start_edge(node, *self.with_certificate(node), *flags)
