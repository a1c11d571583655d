"""The counting process: counts one file after the other for an agent, with little priority and within limits.

Flow: a line of JSON on standard input names a file, with what opens it; lines on standard output tell the progress, and
in the end the checkpoint or the problem. Both are its own: a plug-in that prints does so into the agent's log, and one
that reads standard input finds nothing. It ends when its input does; and when nobody reads what it tells, which it
finds out with the next line, so that it never outlives its agent by more than one step.
Neighbours: `children` starts it and speaks with it; `counting` does the work. Numpy is loaded here and nowhere else.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TextIO

from neptune.edge.counting import Checkpoint, FileCount, Target
from neptune.edge.problems import Problem, unexpected
from neptune.edge.remote import RemoteSource, credentials_of, is_remote
from neptune.edge.sources import FileSource

#: How often progress is told (seconds).
STEP_SECONDS = 0.25
#: Address space. Counting takes 60 MB of memory at most; a zstd window may take 128 MB (RFC 8878, section 3.1.1.1.2).
_ADDRESS_BYTES = 2**30
_NICENESS = 10
#: Of 1000: when memory is short, the kernel takes this process and not the agent (proc(5)).
_OOM_SCORE = "800"


def main() -> None:
    """Serve until standard input ends."""
    asked, told = _pipes()
    _limit()
    try:
        for line in asked:
            path, format_, known, credentials = json.loads(line)
            _serve(Target(path, format_, Checkpoint.from_json(known) if known else None), credentials, told)
    except BrokenPipeError:
        # The interpreter flushes it once more at its end, and complains where it cannot.
        os.dup2(os.open(os.devnull, os.O_WRONLY), told.fileno())


def _pipes() -> tuple[TextIO, TextIO]:
    """Return the pipes from and to the agent, and put others in the place where code of a plug-in looks for them."""
    asked, told = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return asked, told


def _serve(target: Target, credentials: Mapping[str, str] | None, told: TextIO) -> None:
    keys = credentials_of(target.path, credentials) if credentials else None
    if isinstance(keys, Problem):
        _say(told, "problem", (keys.reason, keys.message))
        return
    count = FileCount(
        target, partial(RemoteSource.open, credentials=keys) if is_remote(target.path) else FileSource.open
    )
    outcome: Checkpoint | Problem | None = None
    try:
        while outcome is None:
            outcome = count.step(STEP_SECONDS)
            _say(told, "progress", count.progress)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001  # the next file must not suffer
        outcome = unexpected(error)
    finally:
        count.close()
    if isinstance(outcome, Problem):
        _say(told, "problem", (outcome.reason, outcome.message))
    else:
        _say(told, "checkpoint", outcome.to_json())


def _say(told: TextIO, what: str, value: object) -> None:
    print(json.dumps({what: value}), file=told, flush=True)


def _limit() -> None:
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_BYTES, _ADDRESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # a container may forbid it
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    # The library signs with it beside any key, and what this machine has to sign with is not the dataset's.
    os.environ.pop("AWS_SESSION_TOKEN", None)
    # Threads of the linear algebra that numpy brings along; each takes time to start, and address space.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with contextlib.suppress(ImportError):
        import_module("numpy")


if __name__ == "__main__":
    main()
