"""What the processes that a measurement started have used: those of Linux, by the name of the program."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> dict[str, float]:
    """Return the CPU seconds of this process and of all below it, by program; programs of one name together."""
    stats = [_stat(path) for path in Path("/proc").glob("[0-9]*/stat")]
    ours = {os.getpid()}
    while below := {pid for pid, parent, *_ in stats if parent in ours} - ours:
        ours |= below
    used: dict[str, float] = {}
    for pid, _, program, ticks in stats:
        if pid in ours:
            name = "benchmark" if pid == os.getpid() else program
            used[name] = used.get(name, 0.0) + ticks / _TICKS
    return used


def resident_mb(pid: int) -> tuple[float, float]:
    """Return what a process holds now, and the most that it has held, in MB."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    now, peak = (int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return round(now, 1), round(peak, 1)


def _stat(path: Path) -> tuple[int, int, str, int]:
    """Return pid, parent, name and ticks (proc_pid_stat(5)); the name may hold any byte but ends at the last `)`."""
    try:
        text = path.read_text(errors="replace")
    except OSError:  # it has just ended
        return 0, 0, "", 0
    pid, name = text[: text.rindex(")")].split(" (", 1)
    fields = text[text.rindex(")") + 2 :].split()
    return int(pid), int(fields[1]), name, int(fields[11]) + int(fields[12])
