"""Types of values that Kubernetes writes in its own way: `IntOrString`, `Quantity`, `Duration`.

Invariant: what was read is written back in the same words or in shorter ones that mean the same. Neighbours: fields of
kinds use them; `schema` knows nothing of them, they bring their schema along.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

#: resource.Quantity in the form that controller-gen gives it (sigs.k8s.io/controller-tools, pkg/crd/known_types.go).
_QUANTITY = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
#: What Go's time.ParseDuration takes; its units, in microseconds.
_PART = r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)"
_DURATION = rf"^-?(0|({_PART.replace('?:', '')})+)$"
_MICROSECONDS = {"ns": 1e-3, "us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}

IntOrString = Annotated[int | str, WithJsonSchema({"x-kubernetes-int-or-string": True})]
"""A number or a string, as in `maxUnavailable: 25%` (intstr.IntOrString). `1` and `"1"` are different values."""

Quantity = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if isinstance(value, int | float) else value),
    Field(pattern=_QUANTITY),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": _QUANTITY}),
]
"""An amount such as `500m` or `2Gi` (resource.Quantity), kept as the string that was written; a number is one too."""


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not re.fullmatch(_DURATION, value):
        raise ValueError(f"{value!r} is no duration: write it as Go does, such as 90s or 1h30m")
    amount = sum(float(number) * _MICROSECONDS[unit] for number, unit in re.findall(_PART, value))
    return timedelta(microseconds=-amount if value.startswith("-") else amount)


def _written(value: timedelta) -> str:
    microseconds = value // timedelta(microseconds=1)
    seconds, rest = divmod(abs(microseconds), 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    second = f"{seconds}.{rest:06d}".rstrip("0") if rest else str(seconds)
    parts = [f"{hours}h" * bool(hours), f"{minutes}m" * bool(minutes), f"{second}s" * (second != "0")]
    return "-" * (microseconds < 0) + ("".join(parts) or "0s")


Duration = Annotated[
    timedelta,
    BeforeValidator(_parsed),
    PlainSerializer(_written, when_used="unless-none"),
    WithJsonSchema({"type": "string", "pattern": _DURATION}),
]
"""A length of time in Go's words, `1h30m` (metav1.Duration), as a timedelta; finer than a microsecond is cut."""
