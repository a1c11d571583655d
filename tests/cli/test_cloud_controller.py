"""The console script as a user starts it: exit codes, one line for what is wrong, and what it waits for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from neptune.api import Dataset, DatasetSpec, ObjectMeta, crd_for, get_condition
from neptune.embedded.broker import EmbeddedBroker, passwords
from neptune.runtime import Client
from neptune.testing.binaries import Binaries
from neptune.testing.envtest import ControlPlane
from neptune.testing.processes import free_port
from tests.support.kubectl import kubectl

COMMAND = Path(sys.executable).with_name("cloud-controller")


def environ() -> dict[str, str]:
    """Return this process's environment without what would reach the program besides its flags."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("NEPTUNE_", "KUBE"))}


#: What it watches.
WATCHED = ["datasets.neptune.io", "federatedtasks.neptune.io", "models.neptune.io"]


class Program:
    """A running controller and what it logs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[dict[str, Any]] = []

    async def logged(self, event: str, *, seconds: float = 15.0) -> dict[str, Any]:
        """Wait for the next line with that event, and return it."""
        assert self.process.stderr
        async with asyncio.timeout(seconds):
            while line := await self.process.stderr.readline():
                self.log.append(json.loads(line))
                if self.log[-1]["event"] == event:
                    return self.log[-1]
        raise AssertionError(f"ended without {event!r}: {self.log}")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        _, err = await asyncio.wait_for(self.process.communicate(), 10)
        self.log += map(json.loads, err.splitlines())
        assert self.process.returncode is not None
        return self.process.returncode

    def resources(self, event: str) -> list[str]:
        return [entry["resource"] for entry in self.log if entry["event"] == event]

    def count(self, event: str) -> int:
        return sum(entry["event"] == event for entry in self.log)


@asynccontextmanager
async def running(*argv: str | Path) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        COMMAND, *argv, env=environ(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ended(*argv: str | Path, **variables: str) -> tuple[int, str, str]:
    """Run the command to its end; return exit code and output."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *argv,
        env={**environ(), **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    made = EmbeddedBroker()
    await made.start()
    yield made
    await made.close()


def url(port: int) -> str:
    return f"mqtt://127.0.0.1:{port}"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_it_serves_until_a_signal(
    with_datasets: Path, broker: EmbeddedBroker, number: signal.Signals, code: int
) -> None:
    async with running("--kubeconfig", with_datasets, "--broker", url(broker.port)) as program:
        starting = await program.logged("starting")
        assert starting["broker"] == url(broker.port)
        await program.logged("started")
        assert await program.stop(number) == code
        assert program.log[-1]["event"] == "stopped"
        assert not [entry for entry in program.log if entry["level"] in ("warning", "error")]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--kubeconfig", "{tmp}/none"], "{tmp}/none"),
        (["--kubeconfig", "{tmp}/broken"], "{tmp}/broken"),
        (["--kubeconfig", "{tmp}/list"], "{tmp}/list"),
        (["--kubeconfig", "{good}", "--context", "nowhere"], "nowhere"),
        (["--kubeconfig", "{good}", "--broker", "http://127.0.0.1"], "mqtt://HOST:PORT"),
        (["--kubeconfig", "{good}", "--broker", "mqtt://me:s3cret@127.0.0.1"], "user and password"),
        (["--kubeconfig", "{good}", "--password-file", "{tmp}/none"], "{tmp}/none"),
        (["--kubeconfig", "{good}", "--topic-prefix", "a/+"], "topic prefix"),
        (["--kubeconfig", "{good}", "--key-file", "{tmp}/none"], "certificate"),
        (["--namespace", "Team A"], "--namespace: 'Team A' is no name of a namespace"),
        (["--lease", "a/b/c"], "--lease: 'a/b/c' is not [NAMESPACE/]NAME"),
        (["--workers", "0"], "--workers: '0' is not between 1 and 1000"),
        (["--brokr", "x"], "did you mean --broker?"),
    ],
)
async def test_bad_settings_end_it_with_two_and_one_line(
    kubeconfig: Path, tmp_path: Path, argv: list[str], said: str
) -> None:
    (tmp_path / "broken").write_text("clusters: [\n- {a: \n")
    (tmp_path / "list").write_text("- a\n- b\n")
    places = {"tmp": tmp_path, "good": kubeconfig}
    code, out, err = await ended(*(word.format(**places) for word in argv))
    assert (code, out) == (2, "")
    assert [line.startswith("cloud-controller: ") for line in err.splitlines()] == [True], err
    assert said.format(**places) in err
    assert "s3cret" not in err


async def test_config_shows_what_is_set_and_from_where(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("workers = 3\n")
    code, out, err = await ended(
        "config", "--config", file, "--broker", "mqtt://me:s3cret@broker", NEPTUNE_NAMESPACE="shop"
    )
    rows = [line.split() for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert ["broker", "mqtt://***@broker", "--broker"] in rows
    assert ["namespace", "shop", "NEPTUNE_NAMESPACE"] in rows
    assert ["workers", "3", str(file)] in rows
    assert ["mqtt-version", "5", "default"] in rows


async def test_a_broker_that_is_away_is_named_once_and_waited_for(with_datasets: Path) -> None:
    port = free_port()
    async with running("--kubeconfig", with_datasets, "--broker", url(port)) as program:
        told = await program.logged("broker unreachable")
        assert (told["level"], f"127.0.0.1:{port}" in told["reason"]) == ("warning", True)
        await program.logged("started")
        await asyncio.sleep(1.0)  # a second attempt
        broker = EmbeddedBroker(port=port)
        await broker.start()
        await program.logged("broker connected")
        assert await program.stop() == 0
        await broker.close()
        assert program.count("broker unreachable") == 1


async def test_an_api_server_that_is_away_is_named_once_and_does_not_delay_the_end(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": address}}],
        "users": [{"name": "u", "user": {"token": "s3cret"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    async with running("--kubeconfig", tmp_path / "kubeconfig", "--broker", url(broker.port)) as program:
        told = await program.logged("cannot watch, trying again")
        assert address in told["problem"]
        assert "check that the API server runs" in told["problem"]
        await asyncio.sleep(1.5)  # a second attempt
        assert await program.stop() == 0
        assert sorted(program.resources("cannot watch, trying again")) == WATCHED, "each kind once"
        assert "s3cret" not in str(program.log)


async def test_without_the_crd_it_says_so_once_and_serves_when_it_is_applied(
    binaries: Binaries, broker: EmbeddedBroker
) -> None:
    with ControlPlane(binaries) as plane:
        async with running("--kubeconfig", plane.kubeconfig, "--broker", url(broker.port)) as program:
            while (told := await program.logged("cannot watch, trying again"))["resource"] != "datasets.neptune.io":
                continue
            assert told["problem"].startswith("the API server does not know datasets.neptune.io: apply")
            manifest = json.dumps(crd_for(Dataset))
            await asyncio.to_thread(kubectl, "apply", "-f", "-", kubeconfig=plane.kubeconfig, stdin=manifest)
            await program.logged("started", seconds=30)
            client = Client(plane.kubeconfig)
            spec = DatasetSpec(url="/data/a.txt", format="txt", node_name="edge0")
            made = await client.create(Dataset(metadata=ObjectMeta(namespace="default", name="a"), spec=spec))
            async with asyncio.timeout(2):
                while not made.status.conditions:
                    made = await client.get(Dataset, made.key)
            await client.close()
            found = get_condition(made.status.conditions, "Ready")
            assert found
            assert found.reason == "WaitingForNode"
            assert await program.stop() == 0
            # Between 404 and 200 a server may say for a moment that the storage of the new kind is not ready.
            problems = [entry["problem"] for entry in program.log if entry["event"] == "cannot watch, trying again"]
            assert len(problems) == len(set(problems))
            assert {*program.resources("cannot watch, trying again")} == {*WATCHED}, (
                "tasks are not there, and hold up nothing"
            )


async def test_a_password_comes_from_its_file_and_is_printed_nowhere(with_datasets: Path, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    closed = EmbeddedBroker(authenticate=passwords({"cloud": "s3cret"}))
    await closed.start()
    flags = ("--kubeconfig", with_datasets, "--broker", url(closed.port), "--username", "cloud")
    async with running(*flags, "--password-file", secret) as program:
        await program.logged("broker connected")
        assert await program.stop() == 0
        assert "s3cret" not in str(program.log)
    await closed.close()


def test_without_what_it_imports_it_says_in_one_line_what_to_install() -> None:
    code = "import sys; sys.modules['pydantic'] = None; from neptune.cli.cloud_controller import main; main()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == "cloud-controller needs pydantic: pip install 'neptune-edge[cloud]'\n"
