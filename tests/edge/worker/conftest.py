"""One folder a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.edge.worker.folder import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path / "tasks" / "shop" / "digits")
    made.put()
    return made
