"""`neptune`: what a person needs once, as subcommands. Each is a module of its name beside this one.

A subcommand's module has `add_parser(commands)`, which adds its parser and sets `run`: options in, exit code out. Only
the module of the subcommand that was asked for is imported, so that `neptune crds` starts without an HTTP client.
Exit codes: 0 done, 1 failed, 2 bad usage, 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from neptune import __version__, log
from neptune.cli.main import BAD_SETTINGS, refuse_namesake
from neptune.cli.start import FAILED, INTERRUPTED
from neptune.errors import NeptuneError, SettingsError

#: Name and help of each subcommand.
COMMANDS = {
    "crds": "print the CustomResourceDefinitions, or write them to a folder",
    "rbac": "print the role that the controllers of a module need",
    "certs": "make a certificate authority, and certificates for the broker, nodes and the cloud controller",
    "count": "count the samples of files",
    "split": "divide the samples of a file into parts",
    "demo": "run everything on this machine and show that the numbers follow the files",
}


def main() -> None:
    """Run a subcommand and end the process."""
    sys.exit(_run(sys.argv[1:]))


def _run(argv: Sequence[str]) -> int:
    try:
        refuse_namesake()
        # A tool prints results; of the log only what went wrong is of use to whoever reads them.
        log.configure(level="warning")
        options = _parser(argv).parse_args(argv)
        code: int = options.run(options)
    except SettingsError as error:
        print(f"neptune: {error}", file=sys.stderr)
        return BAD_SETTINGS
    except NeptuneError as error:
        print(f"neptune: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="neptune", description="Tools around cloud-controller and edge-agent.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"neptune {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    wanted = next((word for word in argv if not word.startswith("-")), None)
    for name, text in COMMANDS.items():
        if name == wanted:
            _imported(name).add_parser(commands)
        else:
            commands.add_parser(name, help=text)
    return parser


def _imported(command: str) -> Any:
    try:
        return importlib.import_module(f"neptune.cli.{command}")
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{command} needs {error.name}, which is not installed: pip install 'neptune-edge[all]'"
        ) from error
