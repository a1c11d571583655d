"""What the log must not load, and to whom it leaves what it hides."""

from __future__ import annotations

import subprocess
import sys


def printed(code: str) -> str:
    """Return what an interpreter of its own prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_rich_is_not_loaded_and_can_be_loaded_afterwards() -> None:
    loaded = "print('rich' in sys.modules)"
    assert printed(f"import sys, neptune.log; {loaded}; import rich.console; {loaded}").split() == ["False", "True"]


def test_who_loaded_structlog_with_rich_before_keeps_its_tracebacks() -> None:
    code = "import rich, structlog, neptune.log; print(structlog.dev.default_exception_formatter)"
    assert "RichTracebackFormatter" in printed(code)
