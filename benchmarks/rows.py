"""How results are printed: one JSON row a contestant, with the ratio to the first contestant of the same run."""

from __future__ import annotations

import json
from collections.abc import Sequence


def print_rows(benchmark: str, rows: Sequence[dict[str, object]], ratios: Sequence[str]) -> None:
    """Print a row a contestant; `ratios` names the columns that are compared with those of the first."""
    for row in rows:
        compared = {f"{name}_ratio": _ratio(row[name], rows[0][name]) for name in ratios if name in row}
        print(json.dumps({"benchmark": benchmark, **row, **compared}), flush=True)


def _ratio(value: object, base: object) -> float | None:
    assert isinstance(value, int | float)
    assert isinstance(base, int | float)
    return round(value / base, 2) if base else None
