from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LEAVES = {
    "task": "async def test():\n    kept.append(asyncio.create_task(asyncio.sleep(60)))\n",
    "thread": "def test():\n    threading.Thread(target=time.sleep, args=[3]).start()\n",
    "process": "def test():\n    kept.append(subprocess.Popen(['sleep', '3']))\n",
}
CLEAN = """
async def test():
    await asyncio.to_thread(time.sleep, 0)
    await asyncio.create_task(asyncio.sleep(0))
    await (await asyncio.create_subprocess_exec("true")).wait()
"""


def run(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    test = folder / "test_it.py"
    test.write_text(f"import asyncio, subprocess, threading, time\nkept = []\n{body}")
    options = ["-p", "tests.support.leftovers", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder)]
    command = [sys.executable, "-m", "pytest", "-q", *options, str(test)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)


@pytest.mark.parametrize("kind", LEAVES)
def test_test_that_leaves_something_behind_fails(kind: str, tmp_path: Path) -> None:
    result = run(tmp_path, LEAVES[kind])
    assert result.returncode == 1
    assert "behind: {" in result.stdout


def test_test_that_cleans_up_passes(tmp_path: Path) -> None:
    result = run(tmp_path, CLEAN)
    assert result.returncode == 0, result.stdout
