"""An edge node stays small: what its agent must not load, and what it may weigh."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Not rich: structlog loads it where a developer has it, and no dependency of the agent brings it.
HEAVY = ("neptune.api", "neptune.runtime", "pydantic", "aiohttp", "kubernetes", "numpy", "obstore")


@pytest.mark.parametrize("module", ["agent", "worker"])
def test_neither_agent_nor_worker_loads_what_a_node_cannot_afford(module: str) -> None:
    code = f"import sys, neptune.edge.{module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
