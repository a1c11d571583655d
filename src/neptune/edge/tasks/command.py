"""Workers of a node without kubelet: the agent runs one command for each task, in the task's folder.

Flow: a turn, the command, its reports; where none of them ends the work, again after a pause, and in the end `Failed`.
Guarantees: no more than `parallel` run at a time; a command gets no password of the agent, and never outlives it.
Neighbours: `command_child` is the process between the agent and the command; `handover` wants it run or ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from neptune.edge.ending import to_its_end
from neptune.edge.problems import shown
from neptune.errors import SettingsError
from neptune.log import get_logger

#: The variable that names the task's folder to its worker.
VARIABLE = "NEPTUNE_TASK"
#: How long a command may take to end itself after SIGTERM, before SIGKILL (seconds). The agent itself has ten.
GRACE_SECONDS = 5.0
#: Past the grace, for the process in between to tell how it went (seconds).
_LEAVE_SECONDS = 2.0
#: The pause before a command is started again, doubled each time (seconds).
_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 1.0, 60.0
#: What systemd gives the agent for itself.
_OF_THE_AGENT = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY", "LISTEN_FDS", "LISTEN_PID")
_CHILD = (sys.executable, "-I", "-m", "neptune.edge.tasks.command_child")

_log = get_logger()


@dataclass(frozen=True, slots=True)
class TaskCommand:
    """What to run for each task, and within which limits.

    `argv` is run as it is, without a shell. `memory_mb` bounds the data of each of its processes (RLIMIT_DATA, MiB),
    None for no bound; `parallel` is how many run at a time; `retries` is how often one that failed is started again.
    """

    argv: tuple[str, ...]
    memory_mb: int | None = None
    parallel: int = 1
    retries: int = 3

    @classmethod
    def of(cls, line: str, *, memory_mb: int | None = None, parallel: int = 1, retries: int = 3) -> TaskCommand:
        """Read a command as a shell would, which does not run it.

        Raises:
            SettingsError: its quotes do not match, or its program is not there.
        """
        try:
            argv = tuple(shlex.split(line))
        except ValueError as error:
            raise SettingsError(f"--task-command {line!r} cannot be read: {error}") from error
        if not argv or (os.sep in argv[0] and not argv[0].startswith(os.sep)) or shutil.which(argv[0]) is None:
            raise SettingsError(
                f"--task-command {line!r}: there is no program {argv[0] if argv else ''!r}; give its full path "
                "(it runs in the folder of each task), or sh -c '...' for what only a shell understands"
            )
        return cls(argv, memory_mb, parallel, retries)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ended: an exit code, or below zero a signal; and the last line that it printed."""

    code: int
    last_line: str = ""

    def __str__(self) -> str:
        how = f"was killed by signal {-self.code}" if self.code < 0 else f"ended with exit code {self.code}"
        return f"the command {how}" + (f": {self.last_line}" if self.last_line else "")


class CommandRunner:
    """Runs the command for every task of a node."""

    def __init__(self, command: TaskCommand, environ: Mapping[str, str]) -> None:
        self._command = command
        self._environ = {name: value for name, value in environ.items() if not _is_secret(name)}
        self._turns = asyncio.Semaphore(command.parallel)

    async def supervise(
        self,
        folder: Path,
        settled: Callable[[], Awaitable[bool]],
        say: Callable[[str], None],
        fail: Callable[[str], None],
    ) -> None:
        """See `handover.Supervise`. Cancelling it ends the command."""
        for attempt in range(self._command.retries + 1):
            async with self._turns:
                ended = await self._run(folder)
            if await settled():
                return
            _log.warning("task command failed", folder=str(folder), reason=str(ended), attempt=attempt + 1)
            if ended.code == 0:
                fail("the command ended without complete() or fail()")
                return
            if attempt < self._command.retries:
                pause = min(_PAUSE_SECONDS * 2**attempt, _MAX_PAUSE_SECONDS)
                say(f"{ended}; starting it again in {pause:.0f} s")
                await asyncio.sleep(pause)
        fail(f"{ended}; it was started {attempt + 1} times" if attempt else str(ended))

    async def _run(self, folder: Path) -> Exit:
        limit = str(self._command.memory_mb or 0)
        try:
            # A session of its own: Ctrl-C on a terminal is the agent's business.
            child = await asyncio.create_subprocess_exec(
                *_CHILD, str(folder), limit, str(GRACE_SECONDS), *self._command.argv,
                stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True,
                env={**self._environ, VARIABLE: str(folder)},
            )  # fmt: skip
        except OSError as error:
            return Exit(127, f"no process can be started: {error.strerror}")
        try:
            assert child.stdout is not None  # noqa: S101  # it is a pipe
            said = await child.stdout.read()
            await child.wait()
            return _exit_of(said, child)
        finally:
            await to_its_end(_ended(child))


async def _ended(child: Process) -> None:
    """Have the process in between end the command, and wait for both."""
    if child.returncode is not None:
        return
    cast("asyncio.StreamWriter", child.stdin).close()
    try:
        async with asyncio.timeout(GRACE_SECONDS + _LEAVE_SECONDS):
            await child.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


def _exit_of(said: bytes, child: Process) -> Exit:
    try:
        code, last_line = json.loads(said)
        return Exit(code, shown(last_line))
    except (ValueError, TypeError):
        return Exit(child.returncode or 1, "the process between the agent and the command died")


def _is_secret(name: str) -> bool:
    return name in _OF_THE_AGENT or (name.startswith("NEPTUNE_") and "PASSWORD" in name)
