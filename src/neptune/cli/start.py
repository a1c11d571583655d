"""Where the three programs start and end as processes: before their modules are loaded, and after their last line.

Invariant: whatever happens to the terminal, nobody sees a traceback: Ctrl-C while modules load ends a program with 130,
as it does later; output that cannot be written ends it with 1 and a line, or none where the reader has gone (`| head`).
So this imports next to nothing. Neighbours: `main` and `neptune` run what is loaded here.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import sys
from typing import Any, NoReturn

FAILED, INTERRUPTED = 1, 130


def cloud_controller() -> None:
    """Run `cloud-controller` and end the process."""
    _start("cloud-controller", "neptune.cli.cloud_controller")


def edge_agent() -> None:
    """Run `edge-agent` and end the process."""
    _start("edge-agent", "neptune.cli.edge_agent")


def neptune() -> None:
    """Run `neptune` and end the process."""
    _start("neptune", "neptune.cli.neptune")


class _Output(io.FileIO):
    """Standard output, which remembers that it could not be written: argparse, for one, swallows that."""

    problem: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.problem = error
            raise


def _start(program: str, module: str) -> None:
    # A handler that ends the process, since a KeyboardInterrupt may be lost in the middle of an import.
    before = signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    output = _open_stdout()
    try:
        main = importlib.import_module(module).main
        # A parent that ignores Ctrl-C, as nohup's shell, has it ignored here too.
        signal.signal(signal.SIGINT, before)
        main()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        if output.problem:
            _give_up(program, output.problem)


def _open_stdout() -> _Output:
    standard = sys.stdout
    if standard is None:  # closed, as by `>&-`
        # Keeps its number from whatever is opened next; who writes to it gets an error.
        output, encoding, by_line = _Output(os.open(os.devnull, os.O_RDONLY), "w"), "utf-8", True
    else:
        output, encoding = _Output(standard.fileno(), "w", closefd=False), standard.encoding
        by_line = output.isatty() or bool(os.environ.get("PYTHONUNBUFFERED"))
    buffered = io.BufferedWriter(output)
    sys.stdout = io.TextIOWrapper(buffered, encoding, errors="backslashreplace", line_buffering=by_line)
    return output


def _give_up(program: str, problem: OSError) -> NoReturn:
    # What is buffered must not fail once more when the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not isinstance(problem, BrokenPipeError):
        print(f"{program}: cannot write to standard output: {problem.strerror}", file=sys.stderr)
    sys.exit(FAILED)
