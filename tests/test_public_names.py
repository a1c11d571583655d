"""What the packages offer: complete and sorted lists of names, each described as far as a machine can tell.

A description says what a thing does, names its numbers (their unit is in the name, or in the text beside it), and says
under `Raises:` what the body of a function raises by itself.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import pytest

#: They list their names in `__all__`.
PACKAGES = ["neptune.api", "neptune.controllers.tasks", "neptune.runtime", "neptune.transport"]
LISTS = [
    *PACKAGES,
    "neptune.transport.mqtt",
    "neptune.embedded.broker",
    "neptune.embedded.apiserver",
    "neptune.edge.formats",
    "neptune.edge.worker",
]
#: Users import these by their full path; what is public is defined in them.
MODULES = [
    "neptune.api.core", "neptune.transport.memory", "neptune.embedded.apiserver.http",
    *(f"neptune.testing.{name}" for name in ("binaries", "crds", "envtest", "faults", "fixtures", "rbac")),
]  # fmt: skip


@dataclass(frozen=True)
class Described:
    """Something public with its description: a class with its constructor, or a function, method or property.

    `around` is the description of the class that a method is of.
    """

    name: str
    value: Any
    text: str
    around: str
    functions: tuple[types.FunctionType, ...]

    @cached_property
    def numbers(self) -> set[str]:
        """Parameters and fields that hold a number and have no description of their own."""
        hints: dict[str, Any] = {}
        for function in self.functions:
            hints |= function.__annotations__
        if inspect.isclass(self.value):
            hints |= vars(self.value).get("__annotations__", {})
        fields = getattr(self.value, "model_fields", {})
        return {
            name
            for name, hint in hints.items()
            if is_number(name, str(hint)) and not (name in fields and fields[name].description)
        }

    @cached_property
    def raised(self) -> set[str]:
        """Exceptions that the functions' own bodies raise by name."""
        return {name for function in self.functions for name in raised_in(function)}


def is_number(name: str, hint: str) -> bool:
    if name.startswith("_") or name == "return":
        return False
    return name.endswith(("_seconds", "_bytes")) or {part.strip() for part in hint.split("|")} <= {
        "int",
        "float",
        "None",
    }


def raised_in(function: types.FunctionType) -> Iterator[str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    waiting: list[ast.AST] = [*cast("ast.FunctionDef", tree).body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            # A variable is an error that came from elsewhere, and a private one does not get out.
            if isinstance(raised, ast.Name) and raised.id[0].isupper() and raised.id != "AssertionError":
                yield raised.id


def described(name: str, value: Any) -> Iterator[Described]:
    """Give a public class or function, and what is public in the class."""
    if isinstance(value, types.FunctionType):
        yield Described(name, value, inspect.getdoc(value) or "", "", (value,))
    if not inspect.isclass(value) or not value.__module__.startswith("neptune"):
        return
    made_by = tuple(
        each for part in ("__init__", "__post_init__")
        if isinstance(each := vars(value).get(part), types.FunctionType) and each.__module__ == value.__module__
        and "__create_fn__" not in each.__qualname__ and each.__code__.co_filename != "<string>"
    )  # fmt: skip
    own = [value.__doc__ or "", *(inspect.getdoc(each) or "" for each in made_by if each.__doc__)]
    yield Described(name, value, "\n".join(own), "", made_by)
    for part, member in list(vars(value).items()):
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        function = inspect.unwrap(function) if callable(function) else function
        if part.startswith("_") or not isinstance(function, types.FunctionType):
            continue
        text = inspect.getdoc(getattr(value, part)) or ""
        yield Described(f"{name}.{part}", function, text, value.__doc__ or "", (function,))


def everything() -> Iterator[Described]:
    for name in LISTS:
        package = importlib.import_module(name)
        for each in package.__all__:
            yield from described(f"{name}.{each}", getattr(package, each))
    for name in MODULES:
        module = importlib.import_module(name)
        for each, value in vars(module).items():
            if not each.startswith("_") and getattr(value, "__module__", "") == name:
                yield from described(f"{name}.{each}", value)


EVERYTHING = list(everything())


@pytest.mark.parametrize("name", PACKAGES)
def test_the_public_names_are_sorted_and_there(name: str) -> None:
    package = importlib.import_module(name)
    assert list(package.__all__) == sorted(package.__all__)
    assert len(set(package.__all__)) == len(package.__all__)
    assert all(hasattr(package, each) for each in package.__all__)


@pytest.mark.parametrize("name", PACKAGES)
def test_nothing_public_is_imported_but_not_listed(name: str) -> None:
    package = importlib.import_module(name)
    public = {each for each, value in vars(package).items() if not each.startswith("_") and not inspect.ismodule(value)}
    assert public == set(package.__all__)


def test_every_public_class_and_function_says_what_it_is() -> None:
    assert [each.name for each in EVERYTHING if not each.text or "(self, /, *args" in each.text] == []


def test_every_number_is_named_in_the_description_of_what_takes_it_or_of_its_class() -> None:
    lost = [
        f"{each.name}: {number}" for each in EVERYTHING
        for number in sorted(each.numbers) if not re.search(rf"\b{number}\b", each.text + each.around)
    ]  # fmt: skip
    assert not lost, "\n".join(lost)


def test_every_error_that_a_function_raises_is_named_under_raises() -> None:
    lost = [
        f"{each.name}: {error}" for each in EVERYTHING
        for error in sorted(each.raised) if not re.search(rf"\b{error}\b", each.text.partition("Raises:")[2])
    ]  # fmt: skip
    assert not lost, "\n".join(lost)
