"""A bar for work that takes a while, on standard error when that is a terminal. The one door to `rich`.

Where rich is not installed a line with the percentage does; where nobody looks there is nothing.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

#: Told how many bytes are done, and of how many.
Progress = Callable[[int, int], None]


@contextlib.contextmanager
def progress(label: str) -> Iterator[Progress]:
    """Show a bar until the block ends; what it gives is called as the work goes on."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    try:
        from rich.console import Console  # noqa: PLC0415  # optional, and slow to import
        from rich.progress import Progress as Bar  # noqa: PLC0415
    except ModuleNotFoundError:
        with _line(label) as tell:
            yield tell
        return
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task: Any = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def _line(label: str) -> Iterator[Progress]:
    shown = -1

    def tell(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // total if total else 100
        if percent != shown:
            shown = percent
            print(f"\r{label} {percent:3} %", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        # Erase the line (ECMA-48, EL), so that results do not stand behind it.
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
