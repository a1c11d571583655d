"""What the service manager hears, on a socket of the test's own."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from neptune.cli.notify import ServiceManager


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(10)
        yield listener


@pytest.mark.parametrize("abstract", [False, True])
def test_states_go_to_the_socket_that_the_environment_names(
    listener: socket.socket, tmp_path: Path, abstract: bool
) -> None:
    name = f"@neptune-{os.getpid()}" if abstract else str(tmp_path / "notify")
    listener.bind(name.replace("@", "\0"))
    manager = ServiceManager({"NOTIFY_SOCKET": name})
    manager.ready("node edge0")
    manager.reloading()
    manager.stopping()
    assert listener.recv(4096) == b"READY=1\nSTATUS=node edge0"
    assert listener.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert listener.recv(4096) == b"STOPPING=1"


async def test_the_watchdog_is_fed_twice_in_its_time(listener: socket.socket, tmp_path: Path) -> None:
    listener.bind(str(tmp_path / "notify"))
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}
    manager = ServiceManager(environ)
    assert manager.watchdog_seconds == 0.01
    feeding = asyncio.create_task(manager.feed_watchdog())
    for _ in range(3):
        assert await asyncio.to_thread(listener.recv, 4096) == b"WATCHDOG=1"
    feeding.cancel()


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}],
)
async def test_without_a_watchdog_nothing_is_fed(environ: dict[str, str]) -> None:
    manager = ServiceManager(environ)
    assert manager.watchdog_seconds is None
    await manager.feed_watchdog()
    manager.ready("nobody listens")


def test_a_manager_that_has_gone_is_no_reason_to_fail(tmp_path: Path) -> None:
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("node edge0")
