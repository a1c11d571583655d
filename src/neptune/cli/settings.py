"""Settings of every program: flags over environment over TOML file over default, and where each came from.

Invariant: a program starts only with settings that were all understood; whatever was not is a `SettingsError` of one
line. Standard library only: the edge agent shares it. Neighbours: each program lists its `Setting`s; `main` turns
errors into exit codes.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from neptune.errors import SettingsError

ENV_PREFIX = "NEPTUNE_"
#: How alike an unknown variable must be to a known one, prefix aside, to be taken for a slip of the keyboard. Below it,
#: it is somebody else's: Kubernetes gives pods NEPTUNE_PORT where a Service is called neptune, the tests have
#: NEPTUNE_TEST_KUBECONFIG, and another project's client has NEPTUNE_MODE.
_SLIP = 0.81
#: The user part of a URL, where people put passwords.
_URL_USER = re.compile(r"(?<=://)[^/\s]*@")


def text(value: str) -> str:
    """Take any text that is not empty."""
    if not value:
        raise ValueError("is empty")
    return value


def seconds(value: str) -> float:
    """Take a positive number of seconds, a day at most."""
    number = float(value)
    if not 0 < number <= 86_400:
        raise ValueError("is not between 0 and 86400 seconds")
    return number


def whole(low: int, high: int) -> Callable[[str], int]:
    """Take a whole number from `low` to `high`."""

    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError as error:
            raise ValueError("is not a whole number") from error
        if not low <= number <= high:
            raise ValueError(f"is not between {low} and {high}")
        return number

    return parse


def yes_or_no(value: str) -> bool:
    """Take `true` or `false`, as Kubernetes' own programs do; a flag without a value is `true`."""
    if value not in ("true", "false"):
        raise ValueError("is not true or false")
    return value == "true"


def one_of(*choices: str) -> Callable[[str], str]:
    """Take one of these words."""

    def parse(value: str) -> str:
        if value not in choices:
            raise ValueError(f"is not one of {', '.join(choices)}")
        return value

    return parse


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: `--a-name`, `NEPTUNE_A_NAME`, and `a-name` in the TOML file.

    `default` is a value that has been parsed already. A `repeated` one is a tuple: the flag may be given several
    times, the file holds a list, and the variable is cut at `os.pathsep`.
    """

    name: str
    help: str
    default: Any = None
    parse: Callable[[str], Any] = text
    metavar: str = "TEXT"
    repeated: bool = False

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENV_PREFIX + self.name.replace("-", "_").upper()


@dataclass(frozen=True, slots=True)
class Values:
    """The settings of one start, each with the place that it came from."""

    values: Mapping[str, Any]
    sources: Mapping[str, str]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def for_log(self) -> dict[str, Any]:
        """Return what was set, and not left at its default, for one line in the log."""
        return {
            name.replace("-", "_"): _shown(value)
            for name, value in self.values.items()
            if self.sources[name] != "default"
        }

    def table(self) -> str:
        """Return a line a setting: name, value and source, in columns."""
        rows = [(name, _shown(value), self.sources[name]) for name, value in self.values.items()]
        widths = [max(len(row[column]) for row in rows) for column in range(2)]
        return "\n".join(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {source}" for name, value, source in rows)


def _shown(value: Any) -> str:
    """Return a value as a person may read it and write it: without the password that somebody has put into a URL."""
    if isinstance(value, tuple):
        return " ".join(_shown(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return "-" if value is None else _URL_USER.sub("***@", str(value))


CONFIG = Setting("config", "TOML file with settings, each named as its flag", metavar="FILE")
LOGGING = (
    Setting("log-level", "debug, info, warning or error", "info", one_of("debug", "info", "warning", "error"), "LEVEL"),
    Setting("log-format", "auto (JSON unless on a terminal), json or console", "auto",
            one_of("auto", "json", "console"), "FORMAT"),
)  # fmt: skip
BROKER = (
    Setting("broker", "the MQTT broker: mqtt://HOST:PORT, mqtts:// for TLS, ws:// or wss:// through a WebSocket; "
            "several of one cluster with commas between", "mqtt://127.0.0.1:1883", metavar="URL"),
    Setting("mqtt-version", "5 or 3.1.1", "5", one_of("5", "3.1.1"), "VERSION"),
    Setting("username", "user at the broker"),
    Setting("password-file", "file with the password of that user", metavar="FILE"),
    Setting("ca-file", "PEM file with the authorities that may sign the broker's certificate", metavar="FILE"),
    Setting("cert-file", "PEM file with this client's certificate", metavar="FILE"),
    Setting("key-file", "PEM file with the key of that certificate", metavar="FILE"),
    Setting("topic-prefix", "where topics begin; brokers that refuse $ topics need another", "$hw/events",
            metavar="PREFIX"),
)  # fmt: skip


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message} (see {self.prog} --help)")


@dataclass(frozen=True, slots=True)
class Program:
    """The command line of one program that runs until it is stopped."""

    name: str
    summary: str
    version: str
    settings: Sequence[Setting]
    epilog: str = ""
    #: The extra that installs what the program imports.
    extra: str = "all"
    #: Settings of the sibling programs, whose variables may be set on the same machine.
    also_known: Sequence[Setting] = field(default_factory=tuple)

    def load(self, argv: Sequence[str], environ: Mapping[str, str]) -> tuple[Values, bool]:
        """Return the settings, and whether only to show them (`PROGRAM config`).

        Raises:
            SettingsError: a flag, variable, file or value is not understood.
            SystemExit: after `--help` or `--version`.
        """
        self._refuse_unknown_flags(argv)
        flags = vars(self._parser().parse_args(list(argv)))
        self._refuse_slips(environ)
        place, file_values = self._file(flags, environ)
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for setting in (*self.settings, CONFIG):
            given = flags[setting.name.replace("-", "_")]
            if given is not None:
                value, source = _parsed(setting, given, f"--{setting.name}"), f"--{setting.name}"
            elif setting.variable in environ:
                raw = environ[setting.variable]
                parts = raw.split(os.pathsep) if setting.repeated else raw
                value, source = _parsed(setting, parts, setting.variable), setting.variable
            elif setting.name in file_values:
                value, source = _parsed(setting, file_values[setting.name], f"{place}: {setting.name}"), place
            else:
                value, source = setting.default, "default"
            values[setting.name], sources[setting.name] = value, source
        return Values(values, sources), flags["action"] == "config"

    def _parser(self) -> argparse.ArgumentParser:
        parser = _Parser(
            prog=self.name,
            description=self.summary,
            epilog=self.epilog,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=26, width=80),
            usage=f"{self.name} [config] [--FLAG VALUE ...]",
        )
        parser.add_argument("action", nargs="?", choices=["config"], help="print each setting and its source, then end")
        for setting in (*self.settings, CONFIG):
            shown = "" if setting.default is None else f" ({_shown(setting.default)})"
            is_switch = setting.parse is yes_or_no
            parser.add_argument(
                f"--{setting.name}",
                metavar=setting.metavar,
                action="append" if setting.repeated else "store",
                nargs="?" if is_switch else None,
                const="true" if is_switch else None,
                help=(setting.help + shown).replace("%", "%%"),
            )
        parser.add_argument("--version", action="version", version=f"{self.name} {self.version}")
        return parser

    def _refuse_unknown_flags(self, argv: Sequence[str]) -> None:
        # argparse would name the value that follows such a flag, and no flag that is near.
        known = ["--help", "--version", *(f"--{setting.name}" for setting in (*self.settings, CONFIG))]
        for word in argv:
            flag = word.partition("=")[0]
            if flag.startswith("--") and flag not in known:
                raise SettingsError(f"unknown flag {flag}: {_hint(flag, known, f'see {self.name} --help')}")

    def _refuse_slips(self, environ: Mapping[str, str]) -> None:
        known = [setting.variable for setting in (*self.settings, *self.also_known, CONFIG)]
        ends = [name.removeprefix(ENV_PREFIX) for name in known]
        for name in environ:
            if not name.startswith(ENV_PREFIX) or name in known:
                continue
            if near := _near(name.removeprefix(ENV_PREFIX), ends, _SLIP):
                raise SettingsError(f"unknown environment variable {name}: did you mean {ENV_PREFIX}{near}?")

    def _file(self, flags: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
        path = flags["config"] or environ.get(CONFIG.variable)
        if not path:
            return "", {}
        import tomllib  # noqa: PLC0415  # see `_near`

        try:
            data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"cannot read the settings file {path}: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"{path} is not TOML: {error}") from error
        known = [setting.name for setting in self.settings]
        for name in data:
            if name not in known:
                raise SettingsError(
                    f"{path}: unknown setting {name!r}: {_hint(name, known, f'see {self.name} config')}"
                )
        return str(path), data


def _hint(name: str, known: Sequence[str], otherwise: str) -> str:
    near = _near(name, known, 0.6)
    return f"did you mean {near}?" if near else otherwise


def _near(name: str, known: Sequence[str], likeness: float) -> str:
    """Return the one that is most like a name, if any is by so much (0 to 1), else an empty text."""
    # Here, as `tomllib` where it is used: an agent that has no settings file and no slip in it saves 0.4 MB.
    import difflib  # noqa: PLC0415

    return next(iter(difflib.get_close_matches(name, known, 1, likeness)), "")


def _parsed(setting: Setting, given: Any, place: str) -> Any:
    if setting.repeated:
        items = given if isinstance(given, list) else [given]
        if not items:
            raise SettingsError(f"{place} is an empty list: leave it out, or name one at least")
        return tuple(_parsed_one(setting, item, place) for item in items)
    return _parsed_one(setting, given, place)


def _parsed_one(setting: Setting, given: Any, place: str) -> Any:
    if isinstance(given, (list, dict)):
        raise SettingsError(f"{place} wants one value")
    # TOML knows numbers, and a number is as good as its text; a date is a mistake, and mostly a yes is.
    if isinstance(given, bool) and setting.parse is yes_or_no:
        return given
    if isinstance(given, bool) or not isinstance(given, (str, int, float)):
        raise SettingsError(f"{place}: {_shown(given)!r} is not a text or a number")
    try:
        return setting.parse(str(given))
    except ValueError as error:
        reason = str(error) if str(error).startswith("is ") else "is not a number"
        raise SettingsError(f"{place}: {_shown(given)!r} {reason}") from error
