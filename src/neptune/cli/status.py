"""What a running agent does, told on a Unix socket in its state directory: `edge-agent status` reads it.

Flow: whoever connects gets one JSON object and the end of the stream; what they send is not read.
Guarantees: nothing is written to disk; the socket's file can be used by the agent's user and group, as far as the
umask lets them; a socket that an agent left behind when it was killed reads as "not running".
Neighbours: `edge_agent` serves it; `edge.snapshot` says what the fields mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from neptune import __version__
from neptune.cli.edge_settings import SETTINGS
from neptune.cli.main import BAD_SETTINGS, DONE, refuse_namesake
from neptune.cli.settings import Program, Setting, one_of
from neptune.cli.start import FAILED
from neptune.errors import NeptuneError, SettingsError

SOCKET = "agent.sock"
#: How long an agent may take to answer, and a reader to take the answer (seconds).
_ANSWER_SECONDS = 5.0
PROGRAM = Program(
    "edge-agent status",
    "Shows what the agent of this machine does.",
    __version__,
    (*SETTINGS, Setting("output", "text or json", "text", one_of("text", "json"), "FORMAT")),
    epilog="It takes the settings of edge-agent, but uses --state-dir and --output only.",
)


class NotRunning(NeptuneError):
    """No agent answers; the text says where one was looked for."""


@contextlib.asynccontextmanager
async def status_socket(state_dir: Path, tell: Callable[[], Mapping[str, Any]]) -> AsyncIterator[None]:
    """Answer on the socket in `state_dir`, which is there, until the block ends. `tell` is called for each reader.

    Raises:
        SettingsError: the socket cannot be made.
    """

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps(tell()).encode())
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                await writer.drain()
        writer.close()

    with _place(state_dir) as place:
        try:
            listener = _listener(place)
        except OSError as error:
            raise SettingsError(f"cannot make the socket {state_dir / SOCKET}: {error.strerror}") from error
        server = await asyncio.start_unix_server(answer, sock=listener)
        try:
            yield
        finally:
            server.close()
            with contextlib.suppress(OSError):
                place.unlink()


def _listener(place: Path) -> socket.socket:
    place.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        # Before `bind`, which makes the file with the mode that the socket has (unix_bind of Linux): no moment open.
        os.fchmod(listener.fileno(), 0o660)
        listener.bind(str(place))
    except BaseException:
        listener.close()
        raise
    return listener


@contextlib.contextmanager
def _place(state_dir: Path) -> Iterator[Path]:
    """Give a short name for the socket: an address has 107 bytes at most (unix(7)), a directory may be deeper."""
    fd = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{fd}/{SOCKET}")
    finally:
        os.close(fd)


def read_status(state_dir: Path) -> dict[str, Any]:
    """Return what the agent with that state directory tells.

    Raises:
        NotRunning: none answers, or this user may not ask it.
    """
    shown = state_dir / SOCKET
    try:
        with _place(state_dir) as place, socket.socket(socket.AF_UNIX) as reader:
            reader.settimeout(_ANSWER_SECONDS)
            reader.connect(str(place))
            answer: dict[str, Any] = json.loads(b"".join(iter(lambda: reader.recv(65_536), b"")))
    except PermissionError as error:
        raise NotRunning(f"this user may not use {shown}: ask as root, or as the agent's user") from error
    except TimeoutError as error:
        raise NotRunning(f"the agent at {shown} does not answer") from error
    except (OSError, ValueError) as error:
        raise NotRunning(f"no agent is running at {shown}: start edge-agent, or give its --state-dir") from error
    return answer


def main(argv: Sequence[str]) -> int:
    """Print the status; return the exit code: 1 when no agent answers, 2 for wrong settings."""
    try:
        refuse_namesake()
        values, only_show = PROGRAM.load(argv, os.environ)
        if only_show:
            print(values.table(), flush=True)
            return DONE
        found = read_status(Path(values["state-dir"]))
        print(json.dumps(found) if values["output"] == "json" else table(found), flush=True)
    except SettingsError as error:
        print(f"edge-agent: {error}", file=sys.stderr)
        return BAD_SETTINGS
    except NotRunning as error:
        print(f"edge-agent: {error}", file=sys.stderr)
        return FAILED
    return DONE


def table(found: Mapping[str, Any]) -> str:
    """Return a status for a person: a line a fact, then a line a dataset and a line a task."""
    link = "connected" if found["connected"] else f"not connected ({found['reason'] or 'first attempt'})"
    lines = [
        f"node       {found['node']}",
        f"broker     {found['broker']}, {link}",
        f"last sync  {found['lastSync'] or 'none since the start'}",
        f"outbox     {found['outbox']} not confirmed by the cloud, {found['queue']} waiting for the broker",
        f"datasets   {len(found['datasets'])}",
        f"tasks      {len(found['tasks'])}",
    ]
    datasets = [
        (f"{each['namespace']}/{each['name']}", _text(each["samples"]), each["ready"], each["reason"], each["message"])
        for each in found["datasets"]
    ]
    tasks = [
        (each["kind"], f"{each['namespace']}/{each['name']}", each["state"], _text(each["progress"]), each["message"])
        for each in found["tasks"]
    ]
    lines += _columns(("NAME", "SAMPLES", "READY", "REASON", "MESSAGE"), datasets)
    lines += _columns(("KIND", "NAME", "STATE", "PROGRESS", "MESSAGE"), tasks)
    return "\n".join(lines)


def _columns(names: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return lines with these columns, after an empty one; nothing where there is nothing to show."""
    if not rows:
        return []
    rows = [names, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(names) - 1)]
    return ["", *("  ".join((*map(str.ljust, row, widths), row[-1])) for row in rows)]


def _text(number: int | None) -> str:
    return "-" if number is None else str(number)
