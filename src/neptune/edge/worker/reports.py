"""Reports as files: each is whole and on the disk once it has its name, and few wait for the agent.

Invariant: of the reports that nobody has taken yet, one at most is not the last word: the latest wins, so an older one
tells nothing. One worker at a time has a folder.
Neighbours: `task` checks what is reported, `edge.tasks` takes the files.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from dataclasses import asdict
from pathlib import Path

from neptune.edge.durable import whole
from neptune.protocol.messages import WORK_BYTES, WorkReport
from neptune.protocol.work import RUNNING, TERMINAL

#: A worker's own names: nanoseconds, process and number, so that they sort in the order of writing (until 2286).
_OWN_NAME = re.compile(r"(\d{19})-\d+-\d{6,}\.json")


class Reports:
    """Writes reports into the folder, and takes back those that newer ones make pointless."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: The last word was said.
        self.closed = False
        self._untaken: list[Path] | None = None
        self._last = 0
        self._number = 0

    def next_id(self) -> str:
        """Return an id that sorts behind all before it, though the clock went back or an earlier worker was ahead."""
        if self._untaken is None:
            self._untaken = self._left_by_others()
        self._last = max(time.time_ns(), self._last + 1)
        self._number += 1
        return f"{self._last}-{os.getpid()}-{self._number:06}"

    def write(self, uid: str, generation: int, work: WorkReport) -> None:
        """Put a report where the agent finds it; it is on the disk when this returns.

        Raises:
            OSError: the folder does not take it.
        """
        content = {
            "uid": uid,
            "generation": generation,
            **{name: value for name, value in asdict(work).items() if name != "id"},
        }
        path = self.folder / f"{work.id}.json"
        with whole(path, self.folder / f".tmp-{work.id}", "xb") as file:
            file.write(json.dumps(content).encode())
        self.closed = work.state in TERMINAL
        # The latest wins, so what the agent has not taken yet tells it nothing. It may be taking it right now.
        for older in self._untaken or ():
            older.unlink(missing_ok=True)
        self._untaken = [path]

    def _left_by_others(self) -> list[Path]:
        """Return what an earlier worker reported and nobody took, but for a last word; drop what it left torn."""
        found = []
        for path in self.folder.iterdir():
            if path.name.startswith(".tmp-"):
                path.unlink(missing_ok=True)
            elif name := _OWN_NAME.fullmatch(path.name):
                self._last = max(self._last, int(name[1]))
                if _state_of(path) == RUNNING:
                    found.append(path)
        return found


def _state_of(path: Path) -> object:
    with contextlib.suppress(OSError, ValueError, RecursionError), path.open("rb") as file:
        found = json.loads(file.read(2 * WORK_BYTES))
        return found.get("state") if isinstance(found, dict) else None
    return None
