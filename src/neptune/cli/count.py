"""`neptune count`: the samples of files, as the agent of a node would count them. Needs the base installation only.

Neighbours: `edge.counting` counts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from neptune.cli.main import DONE, FAILED
from neptune.cli.progress import Progress, progress
from neptune.edge.counting import FileCount, Target
from neptune.edge.formats import format_name
from neptune.edge.problems import Problem
from neptune.edge.split import format_of
from neptune.errors import SettingsError

#: How long to count between two looks at the bar (seconds).
_STEP_SECONDS = 0.1


def add_parser(commands: Any) -> None:
    """Add `count` to the subcommands of `neptune`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "count",
        help="count the samples of files",
        description="Print how many samples each file has, and with several files the total.",
    )
    parser.add_argument("files", metavar="FILE", nargs="+")
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
            # Behind the semicolon stands what an agent does next.
            print(f"neptune: {found.message.partition('; ')[0]}", file=sys.stderr)
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
    count = FileCount(Target(os.path.realpath(path), format_), None)
    try:
        while (found := count.step(_STEP_SECONDS)) is None:
            tell(*count.progress)
    finally:
        count.close()
    return found if isinstance(found, Problem) else found.samples
