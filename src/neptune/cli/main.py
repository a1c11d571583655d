"""What every program does first and last: settings, logs, signals, exit codes.

Exit codes: 0 done or stopped, 1 failed, 2 bad settings or usage, 130 interrupted by Ctrl-C.
Neighbours: `start` loads the programs, and sees to what they print.
"""

from __future__ import annotations

import asyncio
import glob
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from neptune import log
from neptune.cli.settings import Program, Values
from neptune.cli.start import FAILED, INTERRUPTED
from neptune.errors import NeptuneError, SettingsError

DONE, BAD_SETTINGS = 0, 2

Serve = Callable[[Values, asyncio.Event], Awaitable[None]]
Run = Callable[[Coroutine[Any, Any, int]], int]


def run_program(
    program: Program, serve: Serve, argv: list[str] | None = None, *, runner: Callable[[], Run] = lambda: asyncio.run
) -> int:
    """Run a program until it is told to stop, and return its exit code.

    `serve` gets the settings and an event that is set by SIGTERM or SIGINT. A second signal ends the process at once.
    `runner` loads what runs it in an event loop, once the settings are known to be good.
    """
    try:
        return _run(program, serve, sys.argv[1:] if argv is None else argv, runner)
    except ModuleNotFoundError as error:
        print(f"{program.name} needs {error.name}: pip install 'neptune-edge[{program.extra}]'", file=sys.stderr)
        return BAD_SETTINGS
    except SettingsError as error:
        # One line: a YAML or TLS library's part of the text may have several.
        print(f"{program.name}: {' '.join(str(error).split())}", file=sys.stderr)
        return BAD_SETTINGS
    except NeptuneError as error:
        log.get_logger().error("failed", reason=str(error))
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(program: Program, serve: Serve, argv: list[str], runner: Callable[[], Run]) -> int:
    refuse_namesake()
    values, only_show = program.load(argv, os.environ)
    if only_show:
        print(values.table())
        return DONE
    configure_log(values)
    return runner()(_until_stopped(values, serve))


def configure_log(values: Values) -> None:
    """Send the log where the settings say, from their level on; may be called again."""
    chosen = {"auto": None, "json": True, "console": False}[values["log-format"]]
    log.configure(level=values["log-level"], json=chosen)


async def _until_stopped(values: Values, serve: Serve) -> int:
    stop = asyncio.Event()
    code = DONE
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        nonlocal code
        code = INTERRUPTED if number == signal.SIGINT else DONE
        stop.set()
        for again in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(again)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    await serve(values, stop)
    return code


def refuse_namesake() -> None:
    """Refuse to run where the distribution `neptune` is installed: both own the import package `neptune`.

    Raises:
        SettingsError: it is; the two have overwritten each other's files.
    """
    # As `importlib.metadata` looks for it, which would cost an agent 1 MB.
    if any(glob.glob("neptune-[0-9]*-info", root_dir=folder) for folder in sys.path):  # noqa: PTH207  # a Path raises
        raise SettingsError(
            "the distribution 'neptune' is installed here too and imports under the same name; "
            "install neptune-edge into an environment of its own"
        )
