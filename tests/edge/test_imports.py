"""An edge node stays small: what its agent must not load, and what it may weigh."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("neptune.api", "neptune.runtime", "pydantic", "aiohttp", "kubernetes", "numpy", "obstore", "rich")


def test_the_agent_loads_nothing_that_a_node_cannot_afford() -> None:
    code = f"import sys, neptune.edge.agent; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
