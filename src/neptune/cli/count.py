"""`neptune count`: the samples of files, as the agent of a node would count them. Needs the base installation only.

A folder or a pattern counts as the sum of its files; an object at a url is read with the keys in the environment, as
Amazon's tools have them. Neighbours: `edge.looking` finds files, `edge.counting` counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from neptune.cli.main import DONE
from neptune.cli.progress import Progress, progress
from neptune.cli.settings import text
from neptune.cli.start import FAILED
from neptune.edge.counting import Checkpoint, FileCount, Target
from neptune.edge.formats import format_name
from neptune.edge.looking import Work, look
from neptune.edge.problems import Problem
from neptune.edge.remote import Credentials, RemoteSource, is_remote
from neptune.edge.split import format_of
from neptune.errors import SettingsError

#: How long to count between two looks at the bar (seconds).
_STEP_SECONDS = 0.1
#: From here on counting with numpy saves more than loading it costs, 0.1 s (bytes).
_LARGE_BYTES = 64 * 2**20


def add_parser(commands: Any) -> None:
    """Add `count` to the subcommands of `neptune`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "count",
        help="count the samples of files",
        description="Print how many samples each file has, and with several files the total.",
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        type=text,
        help="a file, folder, pattern, or a file://, http(s):// or s3:// url",
    )
    parser.add_argument("--format", metavar="NAME", help="how samples are told apart (default: by each file's name)")
    parser.add_argument(
        "--output", choices=["text", "json"], default="text", help="json prints an object a file, on a line (text)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Count, and print a line a file; return the exit code: 1 when a file could not be counted, which is said.

    Raises:
        SettingsError: there is no such format.
    """
    if options.format is not None and isinstance(known := format_name(options.format), Problem):
        raise SettingsError(known.message)
    counts: list[int] = []
    for path in options.files:
        format_ = (options.format or format_of(path)).lower()
        with progress(path) as tell:
            found = _count(path, format_, tell)
        if isinstance(found, Problem):
            print(f"neptune: {found.finding}", file=sys.stderr)
            continue
        counts.append(found)
        _print(path, format_, found, as_json=options.output == "json")
    if len(options.files) > 1 and options.output == "text":
        print(f"{sum(counts):>10}  total")
    return DONE if len(counts) == len(options.files) else FAILED


def _print(path: str, format_: str, samples: int, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"path": path, "format": format_, "samples": samples}), flush=True)
    else:
        print(f"{samples:>10}  {path}", flush=True)


def _count(path: str, format_: str, tell: Progress) -> int | Problem:
    if is_remote(path):
        opener = partial(RemoteSource.open, credentials=Credentials.from_environ(os.environ))
        counted = _count_file(FileCount(Target(path, format_, None), opener), tell)
        return counted if isinstance(counted, Problem) else counted.samples
    url = path if path.startswith("file://") else str(Path(path).absolute())  # where `..` stays for the system
    found = look(url, format_, ("/",), None).outcome
    if not isinstance(found, Work):
        return found if isinstance(found, Problem) else found.samples
    if found.size > _LARGE_BYTES:
        with contextlib.suppress(ImportError):
            import_module("numpy")  # the formats use it where it is loaded
    samples = done = 0
    for target in found.targets:
        counted = _count_file(FileCount(target), partial(_told, tell, done, found.size))
        if isinstance(counted, Problem):
            return counted
        samples += counted.samples
        done += counted.file.size
    return samples


def _told(tell: Progress, before: int, total: int, done: int, _: int) -> None:
    tell(before + done, total)


def _count_file(count: FileCount, tell: Progress) -> Checkpoint | Problem:
    try:
        while (found := count.step(_STEP_SECONDS)) is None:
            tell(*count.progress)
    finally:
        count.close()
    return found
