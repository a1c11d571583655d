"""What becomes of a test that lacks a real part: a skip, or a failure where CI promises that nothing lacks."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(why: str) -> NoReturn:
    """End a test that lacks a real part; `why` says in one line what lacks and how to come by it."""
    if os.environ.get("NEPTUNE_REQUIRE_REAL") == "1":
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


def needs_root() -> None:
    """End a test that has to become a user who may read less, where it is not root's."""
    if os.geteuid() != 0:
        missing("only root can become a user who may read less: run the tests as root")
