"""Whole systems in one process, on virtual time, with seeded faults: the real programs against the worst of networks.

    outcome = simulate(seed)

`loop` has virtual time and processes, `network`, `server` and `files` what the programs stand on, `world` puts them
together, `schedule` does harm, `judge` tells right from wrong. `python -m neptune.testing.simulation` runs thousands.
"""

from neptune.testing.simulation.simulation import Outcome, simulate

__all__ = ["Outcome", "simulate"]
