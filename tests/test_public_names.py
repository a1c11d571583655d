"""What the packages offer: complete and sorted lists of names, each with a docstring."""

from __future__ import annotations

import importlib
import inspect

import pytest

PACKAGES = ["neptune.api", "neptune.runtime", "neptune.transport"]


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


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_class_and_function_says_what_it_is(name: str) -> None:
    package = importlib.import_module(name)
    values = [getattr(package, each) for each in package.__all__]
    bare = [value for value in values if (inspect.isclass(value) or inspect.isfunction(value)) and not value.__doc__]
    assert bare == []
