"""Label and field selectors, as kubectl writes them: which objects are meant.

Pure; the grammar is k8s.io/apimachinery `pkg/labels`. Neighbours: `runtime.predicates` asks it about changes, the
embedded API server about lists and watches.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Literal

Operator = Literal["in", "notin", "exists", "!", ">", "<"]

_KEY = r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?"
_EXISTS = re.compile(rf"(?P<not>!?)\s*(?P<key>{_KEY})")
_EQUALS = re.compile(rf"(?P<key>{_KEY})\s*(?P<op>==|=|!=)\s*(?P<value>{_VALUE})")
_ORDER = re.compile(rf"(?P<key>{_KEY})\s*(?P<op>[<>])\s*(?P<value>-?\d+)")
_SET = re.compile(rf"(?P<key>{_KEY})\s+(?P<op>in|notin)\s*\((?P<values>[^()]*)\)")
_FIELD = re.compile(r"(?P<key>[^=!]+?)(?P<op>==|=|!=)(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one key; a selector is the conjunction of its requirements."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, values: Mapping[str, str]) -> bool:
        """Tell whether `values` meets the requirement. `!=` and `notin` hold where the key is absent."""
        if self.operator == "exists":
            return self.key in values
        if self.operator == "!":
            return self.key not in values
        if self.operator in (">", "<"):
            return self._ordered(values.get(self.key, ""))
        inside = self.key in values and values[self.key] in self.values
        return inside if self.operator == "in" else not inside

    def _ordered(self, value: str) -> bool:
        if not re.fullmatch(r"-?\d+", value):
            return False
        bound = int(next(iter(self.values)))
        return int(value) > bound if self.operator == ">" else int(value) < bound


Selector = tuple[Requirement, ...]


def parse_labels(text: str) -> Selector:
    """Read a label selector such as `app=a,tier in (x,y),!old`.

    Raises:
        ValueError: the text is no selector.
    """
    return tuple(_requirement(part, text) for part in _split(text)) if text.strip() else ()


def parse_fields(text: str, supported: Container[str] | None = None) -> Selector:
    """Read a field selector such as `metadata.name=a,spec.nodeName!=b`; `supported` has the fields allowed, None all.

    Raises:
        ValueError: the text is no selector or names another field.
    """
    found = []
    for part in filter(None, text.split(",")):
        match = _FIELD.fullmatch(part)
        if not match:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{part}'")
        if supported is not None and match["key"] not in supported:
            raise ValueError(f"field label not supported: {match['key']}")
        found.append(_equality(match["key"], match["op"], match["value"]))
    return tuple(found)


def matches(selector: Selector, values: Mapping[str, str]) -> bool:
    """Tell whether `values` meets every requirement."""
    return all(requirement.matches(values) for requirement in selector)


def _split(text: str) -> list[str]:
    """Cut at the commas that stand outside parentheses."""
    return [part.strip() for part in re.split(r",(?![^()]*\))", text)]


def _requirement(part: str, whole: str) -> Requirement:
    if match := _EQUALS.fullmatch(part):
        return _equality(match["key"], match["op"], match["value"])
    if match := _SET.fullmatch(part):
        values = [value.strip() for value in match["values"].split(",")]
        if not all(re.fullmatch(_VALUE, value) for value in values):
            raise _unparsable(whole)
        return Requirement(match["key"], "in" if match["op"] == "in" else "notin", frozenset(values))
    if match := _ORDER.fullmatch(part):
        return Requirement(match["key"], ">" if match["op"] == ">" else "<", frozenset({match["value"]}))
    if match := _EXISTS.fullmatch(part):
        return Requirement(match["key"], "!" if match["not"] else "exists")
    raise _unparsable(whole)


def _equality(key: str, operator: str, value: str) -> Requirement:
    return Requirement(key, "notin" if operator == "!=" else "in", frozenset({value}))


def _unparsable(text: str) -> ValueError:
    return ValueError(f"unable to parse requirement: {text!r} is not a label selector")
