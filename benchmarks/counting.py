"""Counting: a text file of 1 GB from the page cache, as a whole process, against `grep -c .` and `wc -l`.

Contestants run in turn, several rounds; a row has the round with the least CPU time of each. `without_start` leaves out
what the process takes to start. A second table has an append of 1 KB to a file of 10 GB that was counted before.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import print_rows
from neptune.edge.counting import Checkpoint, FileCount, Target

CHILD = [sys.executable, "-I", "-m", "neptune.edge.counting_child"]
TEXT = b"the quick brown fox jumps over the lazy dog and goes on to the river"


@dataclass(frozen=True, slots=True)
class Run:
    """What one process took (seconds, MB) and said. The peak is known only of one that waits for another question."""

    cpu: float
    wall: float
    peak_mb: float | None
    said: str


def run(argv: list[str], asked: bytes = b"") -> Run:
    """Run a process and take its own resource usage from the kernel."""
    started = time.perf_counter()
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ)
    assert process.stdin is not None
    assert process.stdout is not None
    said, peak = "", None
    with process.stdout as stdout:
        with process.stdin as stdin:
            stdin.write(asked)
            stdin.flush()
            while asked and "checkpoint" not in (said := stdout.readline().decode()):
                assert said, "it has ended"
            if asked:
                # Not the kernel's ru_maxrss: that has the memory of the process that forked in it.
                status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
        said += stdout.read().decode()
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    return Run(usage.ru_utime + usage.ru_stime, time.perf_counter() - started, peak, said)


def write_text(path: Path, size: int) -> None:
    """Write lines of about sixty bytes, two of a hundred of them blank."""
    chance = random.Random(7)  # noqa: S311  # the same file each time
    lines = (TEXT[: chance.randint(40, 68)] if chance.random() > 0.02 else b"" for _ in range(200_000))
    block = b"\n".join(lines) + b"\n"
    with path.open("wb") as file:
        while file.tell() < size:
            file.write(block)


def compare(path: Path, rounds: int) -> None:
    """Print a row for each way of counting the file."""
    asked = json.dumps([str(path), "txt", None, None]).encode() + b"\n"
    contestants = {"grep -c .": (["grep", "-c", ".", str(path)], b""), "neptune": (CHILD, asked)}
    contestants |= {"wc -l": (["wc", "-l", str(path)], b""), "neptune's start": (CHILD, b"")}
    best: dict[str, Run] = {}
    for _ in range(rounds):
        for name, (argv, question) in contestants.items():
            found = run(argv, question)
            best[name] = min(found, best.get(name, found), key=lambda each: each.cpu)
    start = best.pop("neptune's start").cpu
    rows: list[dict[str, object]] = []
    for name, took in best.items():
        own = took.cpu - start if name == "neptune" else took.cpu
        row = {"contestant": name, "cpu_seconds": round(took.cpu, 3), "without_start": round(own, 3)}
        peak = {} if took.peak_mb is None else {"peak_mb": round(took.peak_mb, 1)}
        rows.append({**row, "seconds": round(took.wall, 3), **peak})
    samples = json.loads(best["neptune"].said.splitlines()[-1])["checkpoint"][3]
    assert samples == int(best["grep -c ."].said), "they disagree"
    columns = ("cpu_seconds", "without_start", "seconds")
    print_rows("counting 1 GB", rows, columns, to=("grep -c .", "wc -l"))


def append(folder: Path, rounds: int) -> None:
    """Print what an append of 1 KB to 10 GB costs an agent; the file is sparse, so that it fits."""
    path = folder / "large.txt"
    path.touch()
    os.truncate(path, 10 * 2**30)
    asked = json.dumps([str(path), "txt", None, None]).encode() + b"\n"
    known = Checkpoint.from_json(json.loads(run(CHILD, asked).said.splitlines()[-1])["checkpoint"])
    costs = []
    for _ in range(rounds):
        with path.open("ab") as file:
            file.write(b"\n" + b"x" * 1023)
        time.sleep(0.03)
        before = resource.getrusage(resource.RUSAGE_SELF)
        count = FileCount(Target(str(path), "txt", known))
        found = count.step(60.0)
        count.close()
        after = resource.getrusage(resource.RUSAGE_SELF)
        assert isinstance(found, Checkpoint)
        assert found.samples == known.samples + 1
        assert count.bytes_read == 1024
        known = found
        costs.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    print_rows("append of 1 KB to 10 GB", [{"contestant": "neptune", "cpu_ms": round(1000 * max(costs), 2)}], (), to=())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    shm = Path("/dev/shm")  # noqa: S108  # a file in memory is in the page cache for sure
    with tempfile.TemporaryDirectory(prefix="neptune-bench-", dir=shm if shm.is_dir() else None) as name:
        path = Path(name) / "text.txt"
        write_text(path, given.megabytes * 10**6)
        compare(path, given.rounds)
        path.unlink()
        append(Path(name), given.rounds)


if __name__ == "__main__":
    main()
