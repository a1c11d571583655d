from __future__ import annotations

from typing import Any

import pytest

from neptune.embedded.apiserver.jsonpath import JSONPathError, find

OBJECT: dict[str, Any] = {
    "spec": {"url": "/a", "n": 3, "a.b": 1, "list": [1, 2, 3]},
    "status": {
        "conditions": [
            {"type": "Ready", "status": "True", "code": 200},
            {"type": "Synced", "status": "False", "code": 503},
        ],
        "metrics": [{"key": "accuracy", "value": "0.9"}],
    },
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".spec.url", ["/a"]),
        ("{.spec.url}", ["/a"]),
        ("$.spec.url", ["/a"]),
        (".spec['a.b']", [1]),
        (r".spec.a\.b", [1]),
        (".spec.list[0]", [1]),
        (".spec.list[-1]", [3]),
        (".spec.list[9]", []),
        (".spec.list[*]", [1, 2, 3]),
        (".status.conditions[*].type", ["Ready", "Synced"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type=='Synced')].status", ["False"]),
        ('.status.conditions[?(@.type != "Ready")].type', ["Synced"]),
        (".status.conditions[?(@.code>=503)].type", ["Synced"]),
        (".status.conditions[?(@.type<3)].type", []),
        ('.status.conditions[?(@.type=="None")].status', []),
        (".status.metrics[?(@.key=='accuracy')].value", ["0.9"]),
        (".status.nothing.at.all", []),
        (".spec.url.deeper", []),
        (".spec.list[?(@>1)]", [2, 3]),
        (".", [OBJECT]),
    ],
)
def test_path_finds(path: str, expected: list[Any]) -> None:
    assert find(path, OBJECT) == expected


@pytest.mark.parametrize("path", [".a[[", ".a[?(@.b==c)]", ".a[", ".a]"])
def test_path_that_cannot_be_read_says_so(path: str) -> None:
    with pytest.raises(JSONPathError, match=r"JSONPath|neither"):
        find(path, OBJECT)
