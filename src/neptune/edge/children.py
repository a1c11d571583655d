"""Counting processes: how many there are, what they are given, and what their deaths mean.

A process is started for the first file that needs one, serves those that follow, and ends after a few idle seconds.
A process that dies, or says nothing for long, is a problem of the file that it had.
Neighbours: `monitor` gives it the files that are large or packed; `counting_child` is what runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from typing import cast

from neptune.edge.counting import Checkpoint, Target
from neptune.edge.problems import Problem, Reason, shown

#: Files that are counted at a time: two keep a disk busy, and leave the node to its work.
PROCESSES = 2
#: How long a process waits for another file (seconds). Starting one takes 0.1 s of CPU.
_IDLE_SECONDS = 3.0
#: A process that has told no progress for so long reads from something that hangs (seconds).
_SILENCE_SECONDS = 30.0
#: Of one line from a process: a plug-in's state may be long (bytes).
_LINE_BYTES = 2**20
#: How long a process that was killed may take to be gone; one that hangs in the kernel is left there (seconds).
_LEAVE_SECONDS = 2.0
_COMMAND = (sys.executable, "-I", "-m", "neptune.edge.counting_child")


class Children:
    """The counting processes of one agent."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(PROCESSES)
        self._idle: dict[Process, asyncio.TimerHandle] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def count(
        self, target: Target, progress: Callable[[int, int], None], credentials: Mapping[str, str] | None = None
    ) -> Checkpoint | Problem:
        """Count one file as soon as it is its turn; cancelling ends the process that has it.

        `progress` is called with the bytes that are counted, and bytes in all. `credentials` open an object at a url:
        they go over standard input, since others on the machine see arguments, and may see the environment.
        """
        async with self._turns:
            try:
                child = await self._take()
            except OSError as error:
                return _failed(target, f"no process can be started: {error.strerror}")
            outcome = None
            try:
                outcome = await _count(child, target, progress, credentials)
                return outcome or _failed(target, await _last_words(child))
            except TimeoutError:
                return _failed(target, "reading does not come back: look at its file system")
            except (TypeError, ValueError) as error:  # a plug-in's state that is too long, say
                return _failed(target, f"its process gives no answer that can be used ({shown(str(error))})")
            finally:
                if outcome is None:
                    self._end(child)
                else:
                    self._keep(child)

    async def close(self) -> None:
        """End every process."""
        while self._idle:
            child, timer = self._idle.popitem()
            timer.cancel()
            self._end(child)
        if self._ending:
            await asyncio.wait(self._ending, timeout=_LEAVE_SECONDS)

    async def _take(self) -> Process:
        if self._idle:
            child, timer = self._idle.popitem()
            timer.cancel()
            return child
        # A session of its own: Ctrl-C on a terminal is the agent's business.
        return await asyncio.create_subprocess_exec(
            *_COMMAND, stdin=PIPE, stdout=PIPE, limit=_LINE_BYTES, start_new_session=True
        )

    def _keep(self, child: Process) -> None:
        loop = asyncio.get_running_loop()
        self._idle[child] = loop.call_later(_IDLE_SECONDS, self._expire, child)

    def _expire(self, child: Process) -> None:
        del self._idle[child]
        self._end(child)

    def _end(self, child: Process) -> None:
        task = asyncio.create_task(_killed(child), name="end of a counting process")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def _count(
    child: Process, target: Target, progress: Callable[[int, int], None], credentials: Mapping[str, str] | None
) -> Checkpoint | Problem | None:
    """Return what the process says in the end; None when it died.

    Raises:
        TimeoutError: it says nothing.
        TypeError, ValueError: what it says is no answer.
    """
    stdin, stdout = cast("StreamWriter", child.stdin), cast("StreamReader", child.stdout)
    known = target.known.to_json() if target.known else None
    stdin.write(json.dumps([target.path, target.format, known, credentials and dict(credentials)]).encode() + b"\n")
    while True:
        async with asyncio.timeout(_SILENCE_SECONDS):
            line = await stdout.readline()
        if not line.endswith(b"\n"):
            return None
        match json.loads(line):
            case {"progress": [done, total]}:
                progress(done, total)
            case {"checkpoint": data}:
                return Checkpoint.from_json(data)
            case {"problem": [reason, message]}:
                return Problem(Reason(reason), message)


async def _killed(child: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    await child.wait()


async def _last_words(child: Process) -> str:
    async with asyncio.timeout(_LEAVE_SECONDS):
        code = await child.wait()
    return f"its process was killed by signal {-code}, as when memory is short" if code < 0 else f"exit code {code}"


def _failed(target: Target, why: str) -> Problem:
    return Problem(Reason.COUNTING_FAILED, f"{shown(target.path)} could not be counted: {why}; trying again")
