"""How a program begins and ends: exit codes, signals, one line for what is wrong, and the namesake."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from neptune.cli import cloud_controller
from neptune.cli.main import run_program
from neptune.cli.settings import LOGGING, Program, Values
from neptune.errors import NeptuneError, SettingsError

PROGRAM = Program("prog", "Does what it does.", "1.2.3", LOGGING)


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    import logging

    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


async def until_stopped(_values: Values, stop: asyncio.Event) -> None:
    await stop.wait()


def serve_and_get(number: signal.Signals) -> int:
    async def serve(_values: Values, stop: asyncio.Event) -> None:
        os.kill(os.getpid(), number)
        await stop.wait()

    return run_program(PROGRAM, serve, [])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_asks_to_stop_and_sets_the_exit_code(number: signal.Signals, code: int) -> None:
    assert serve_and_get(number) == code


def test_the_controller_runs_on_the_loop_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop, where it is installed, as here: a tenth of a request's CPU is TLS in Python without it."""
    loops = []

    async def serve(*_: object) -> None:
        loops.append(type(asyncio.get_running_loop()).__module__)

    monkeypatch.setattr(cloud_controller, "_serve", serve)
    monkeypatch.setattr(sys, "argv", ["cloud-controller"])
    with pytest.raises(SystemExit, match="0"):
        cloud_controller.main()
    assert loops == ["uvloop"]


def test_a_second_signal_ends_a_program_that_does_not_stop() -> None:
    async def serve(_values: Values, stop: asyncio.Event) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await stop.wait()
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)

    assert run_program(PROGRAM, serve, []) == 130


def test_a_program_that_is_done_ends_with_zero() -> None:
    async def serve(_values: Values, _stop: asyncio.Event) -> None: ...

    assert run_program(PROGRAM, serve, []) == 0


def test_bad_settings_end_with_two_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    async def serve(_values: Values, _stop: asyncio.Event) -> None:
        raise SettingsError("the file is wrong:\n  at line 1\n\tcolumn 2")

    assert run_program(PROGRAM, serve, []) == 2
    assert capsys.readouterr().err == "prog: the file is wrong: at line 1 column 2\n"
    assert run_program(PROGRAM, until_stopped, ["--nonsense"]) == 2
    assert capsys.readouterr().err == "prog: unknown flag --nonsense: see prog --help\n"


def test_an_error_of_ours_ends_with_one_and_its_text_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    async def serve(_values: Values, _stop: asyncio.Event) -> None:
        raise NeptuneError("it broke; mend it")

    assert run_program(PROGRAM, serve, ["--log-format", "json"]) == 1
    err = capsys.readouterr().err
    assert '"reason": "it broke; mend it"' in err
    assert len(err.splitlines()) == 1


def test_config_prints_and_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    async def serve(_values: Values, _stop: asyncio.Event) -> None:
        raise AssertionError

    assert run_program(PROGRAM, serve, ["config", "--log-level", "debug"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["log-level", "debug", "--log-level"]
    assert len(lines) == 3


def test_a_search_path_that_cannot_be_looked_into_holds_no_namesake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(tmp_path / ("x" * 300))  # as a folder of another user
    assert run_program(PROGRAM, until_stopped, ["config"]) == 0, capsys.readouterr().err


def test_beside_the_other_distribution_called_neptune_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "neptune-1.14.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: neptune\nVersion: 1.14.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert run_program(PROGRAM, until_stopped, ["config"]) == 2
    err = capsys.readouterr().err
    assert "'neptune'" in err
    assert "environment of its own" in err
    assert len(err.splitlines()) == 1
