"""How results are printed: one JSON row a contestant, with its ratios to others of the same run."""

from __future__ import annotations

import json
from collections.abc import Sequence

Row = dict[str, object]


def print_rows(benchmark: str, rows: Sequence[Row], columns: Sequence[str], to: Sequence[str]) -> None:
    """Print a row a contestant; `columns` are divided by those of the contestants `to`, where these have run."""
    references = [row for row in rows if row["contestant"] in to]
    for row in rows:
        ratios = {str(reference["contestant"]): _ratios(row, reference, columns) for reference in references}
        print(json.dumps({"benchmark": benchmark, **row, "ratio_to": ratios}), flush=True)


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that `percent` of all do not exceed."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def milliseconds(name: str, values: Sequence[float]) -> Row:
    """Return the columns of what took so many seconds."""
    return {f"{name}_p{percent}_ms": round(percentile(values, percent) * 1000, 1) for percent in (50, 99)}


def _ratios(row: Row, reference: Row, columns: Sequence[str]) -> dict[str, float]:
    pairs = {column: (row.get(column), reference.get(column)) for column in columns}
    return {
        column: round(value / base, 2)
        for column, (value, base) in pairs.items()
        if isinstance(value, int | float) and isinstance(base, int | float) and base
    }
