from __future__ import annotations

import time
from pathlib import Path

import pytest

from neptune.testing.processes import PORTS, Process, ProcessError, accepts_connections, free_port

SHELL = Path("/bin/sh")


def test_process_that_ends_early_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    process = Process.start([SHELL, "-c", "echo bad flag; exit 3"], log=tmp_path / "log")
    with pytest.raises(ProcessError, match="sh ended with 3:\nbad flag"):
        process.wait_until(lambda: False, seconds=5)


def test_process_that_never_gets_ready_is_killed(tmp_path: Path) -> None:
    process = Process.start(["/bin/sleep", "60"], log=tmp_path / "log")
    with pytest.raises(ProcessError, match=r"not ready after 0\.1 s"):
        process.wait_until(lambda: False, seconds=0.1)
    assert not process.running


def test_process_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = Process.start([SHELL, "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done"], log=log)
    process.wait_until(lambda: "deaf" in log.read_text(), seconds=5)

    started = time.monotonic()
    process.stop(seconds=0.3)

    assert not process.running
    assert 0.3 <= time.monotonic() - started < 5


def test_free_port_is_one_that_nobody_serves() -> None:
    port = free_port()
    assert port in PORTS
    assert not accepts_connections(port)
