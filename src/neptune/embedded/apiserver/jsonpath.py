"""The part of kubectl's JSONPath that printer columns and selectable fields use. Pure.

`.a.b`, `['a.b']`, `[0]`, `[-1]`, `[*]`, `[?(@.type=="Ready")]` with ==, !=, <, <=, >, >=; escapes as `.a\\.b`.
Reference: https://kubernetes.io/docs/reference/kubectl/jsonpath/. A missing key yields nothing, as in the server's
table convertor (AllowMissingKeys).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

Step = Callable[[Any], Iterable[Any]]

_TOKEN = re.compile(
    r"""\.?\[\?\(@(?P<path>[^=!<>]*?)\s*(?P<op>==|!=|<=|>=|<|>)\s*(?P<literal>'[^']*'|"[^"]*"|[^\s)]+)\s*\)\]"""
    r"""|\.?\[(?P<index>-?\d+)\]|\.?\[(?P<all>\*)\]|\[['"](?P<quoted>[^'"]+)['"]\]"""
    r"""|\.(?P<star>\*)|\.?(?P<key>(?:\\.|[^.\[\]\\])+)"""
)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class JSONPathError(ValueError):
    """The text is outside the supported part of JSONPath."""


def find(path: str, value: Any) -> list[Any]:
    """Return what `path` selects in `value`, in document order.

    Raises:
        JSONPathError: the path cannot be read.
    """
    found = [value]
    for step in _compile(path):
        found = [hit for item in found for hit in step(item)]
    return found


@lru_cache(maxsize=1024)
def _compile(path: str) -> tuple[Step, ...]:
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    if text in ("", "."):
        return ()
    steps: list[Step] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            raise JSONPathError(f"cannot read JSONPath {path!r} at {text[position:]!r}")
        steps.append(_step(match))
        position = match.end()
    return tuple(steps)


def _step(match: re.Match[str]) -> Step:
    if match["op"]:
        return _filter(match["path"], match["op"], match["literal"])
    if match["index"]:
        return _index(int(match["index"]))
    if match["all"] or match["star"]:
        return _all
    return _key(match["quoted"] or re.sub(r"\\(.)", r"\1", match["key"]))


def _key(name: str) -> Step:
    return lambda value: [value[name]] if isinstance(value, dict) and name in value else []


def _index(position: int) -> Step:
    def step(value: Any) -> Iterable[Any]:
        inside = isinstance(value, list) and -len(value) <= position < len(value)
        return [value[position]] if inside else []

    return step


def _all(value: Any) -> Iterable[Any]:
    if isinstance(value, list):
        return value
    return list(value.values()) if isinstance(value, dict) else []


def _filter(path: str, comparison: str, literal: str) -> Step:
    compare = _OPERATORS[comparison]
    expected = _literal(literal)

    def holds(item: Any) -> bool:
        try:
            return any(compare(found, expected) for found in find(path, item))
        except TypeError:  # values of different types do not compare
            return False

    return lambda value: [item for item in value if holds(item)] if isinstance(value, list) else []


def _literal(text: str) -> Any:
    if text[0] in "'\"":
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError as error:
            raise JSONPathError(f"{text!r} is neither a quoted string, a number nor a boolean") from error
