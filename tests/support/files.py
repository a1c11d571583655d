"""Files for tests that look at stamps."""

from __future__ import annotations

import time
from pathlib import Path

from neptune.edge.looking import stamp_of
from neptune.edge.sources import FileId, racy_seconds


def settled(file: Path, content: bytes) -> Path:
    """Write a file, and return it when a further change would show in its stamps."""
    file.write_bytes(content)
    stamp = stamp_of(str(file))
    assert isinstance(stamp, FileId)
    while racy_seconds(stamp):
        time.sleep(racy_seconds(stamp))
    return file
