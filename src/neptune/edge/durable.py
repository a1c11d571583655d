"""Files that others see whole or not at all, and that outlast a power cut once they have their name.

Neighbours: `tasks.folder` writes work with it, `worker.reports` what came of it, `split.write` the parts of a dataset.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_BUFFER_BYTES = 1024 * 1024


@contextmanager
def whole(
    path: Path, draft: Path, mode: str = "wb", *, opener: Callable[[str, int], int] | None = None
) -> Iterator[IO[bytes]]:
    """Give the file to write; it gets the name `path` when the block ends, and `draft` in the same folder goes.

    Raises:
        OSError: the disk does not take it; what had the name before stays.
    """
    try:
        with open(draft, mode, _BUFFER_BYTES, opener=opener) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Make a rename last: it is the folder that holds the name (fsync(2))."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
