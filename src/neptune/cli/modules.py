"""A user's own module, imported by name as Python would from the current folder.

Neighbours: `crds` and `rbac` look at what is in it. Importing runs the module, so a program guards its start with
`if __name__ == "__main__":`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from types import ModuleType

from neptune.errors import SettingsError


def reference(text: str) -> tuple[str, str]:
    """Return the two parts of `MODULE:NAME`; an argument's type for argparse."""
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise argparse.ArgumentTypeError(f"{text!r} is not MODULE:NAME, such as myapp.kinds:Widget")
    return module, name


def load(name: str) -> ModuleType:
    """Import a module; the current folder is looked at first.

    Raises:
        SettingsError: it cannot be found, or raised something.
    """
    folder = os.getcwd()  # noqa: PTH109  # sys.path holds strings
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"cannot import {name}: there is no module {error.name}; run this where `python -c 'import {name}'` works"
        ) from error
    except (Exception, SystemExit) as error:  # whatever the module does
        raise SettingsError(f"cannot import {name}: {type(error).__name__}: {error}") from error
