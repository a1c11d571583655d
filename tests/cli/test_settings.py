"""Where a setting comes from, what is refused, and that each refusal names the slip and the remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from neptune.cli.cloud_controller import PROGRAM as CLOUD
from neptune.cli.settings import Program, Setting, Values, one_of, seconds, whole, yes_or_no
from neptune.errors import SettingsError

PROGRAM = Program(
    "prog",
    "Does what it does.",
    "1.2.3",
    (
        Setting("broker", "where", "mqtt://default"),
        Setting("root", "folders", ("/default",), repeated=True),
        Setting("workers", "how many", 8, whole(1, 1000)),
        Setting("poll-seconds", "how often", 2.0, seconds),
        Setting("log-level", "how much", "info", one_of("info", "debug")),
        Setting("password-file", "secret"),
    ),
    also_known=(Setting("node", "of a sibling"),),
)


def load(*argv: str, **environ: str) -> Values:
    return PROGRAM.load(argv, environ)[0]


def refused(*argv: str, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(*argv, **environ)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text('broker = "mqtt://file"\nworkers = 3\nroot = ["/a", "/b"]\n')
    return path


def test_a_flag_wins_over_a_variable_over_the_file_over_the_default(file: Path) -> None:
    environ = {"NEPTUNE_CONFIG": str(file), "NEPTUNE_BROKER": "mqtt://variable"}
    assert load("--broker", "mqtt://flag", **environ)["broker"] == "mqtt://flag"
    assert load(**environ)["broker"] == "mqtt://variable"
    assert load(NEPTUNE_CONFIG=str(file))["broker"] == "mqtt://file"
    assert load()["broker"] == "mqtt://default"


def test_each_value_knows_where_it_came_from(file: Path) -> None:
    values = load("--config", str(file), "--broker=mqtt://flag", NEPTUNE_POLL_SECONDS="0.5")
    assert values.sources == {
        "broker": "--broker",
        "root": str(file),
        "workers": str(file),
        "poll-seconds": "NEPTUNE_POLL_SECONDS",
        "log-level": "default",
        "password-file": "default",
        "config": "--config",
    }
    assert values["poll-seconds"] == 0.5


def test_a_repeated_setting_is_a_list_in_each_place(file: Path) -> None:
    assert load()["root"] == ("/default",)
    assert load("--root", "/x", "--root", "/y")["root"] == ("/x", "/y")
    assert load(NEPTUNE_ROOT="/x:/y")["root"] == ("/x", "/y")
    assert load("--config", str(file))["root"] == ("/a", "/b")


def test_config_asks_only_to_show_the_settings() -> None:
    values, only_show = PROGRAM.load(["config", "--workers", "5"], {"NEPTUNE_ROOT": "/x:/y"})
    assert only_show
    rows = [line.split() for line in values.table().splitlines()]
    assert ["workers", "5", "--workers"] in rows
    assert ["root", "/x", "/y", "NEPTUNE_ROOT"] in rows
    assert ["password-file", "-", "default"] in rows
    assert not PROGRAM.load([], {})[1]


def test_the_log_gets_what_was_set_and_no_defaults() -> None:
    assert load("--poll-seconds", "3").for_log() == {"poll_seconds": "3.0"}


@pytest.mark.parametrize("argv", [["--brokr", "mqtt://x"], ["--brokr=mqtt://x"], ["config", "--brokr", "x"]])
def test_an_unknown_flag_is_refused_with_the_nearest_one(argv: list[str]) -> None:
    assert refused(*argv) == "unknown flag --brokr: did you mean --broker?"


def test_an_unknown_flag_that_is_near_none_leads_to_the_help() -> None:
    assert refused("--zzz") == "unknown flag --zzz: see prog --help"


def test_a_flag_is_never_guessed_from_its_beginning() -> None:
    assert refused("--work", "5") == "unknown flag --work: did you mean --workers?"


@pytest.mark.parametrize("argv", [["--broker"], ["confg"], ["--workers", "--broker", "x"]])
def test_other_usage_errors_lead_to_the_help(argv: list[str]) -> None:
    assert refused(*argv).endswith("(see prog --help)")


@pytest.mark.parametrize(
    ("name", "near"),
    [("BROKR", "BROKER"), ("BORKER", "BROKER"), ("LOG_LEVL", "LOG_LEVEL"), ("ROOTS", "ROOT"), ("NODES", "NODE")],
)
def test_a_slip_in_a_variable_is_refused_with_the_nearest_one(name: str, near: str) -> None:
    text = refused(**{f"NEPTUNE_{name}": "x"})
    assert text == f"unknown environment variable NEPTUNE_{name}: did you mean NEPTUNE_{near}?"


@pytest.mark.parametrize(
    "name",
    [
        # What Kubernetes sets for Services called neptune and neptune-broker.
        "NEPTUNE_PORT",
        "NEPTUNE_SERVICE_HOST",
        "NEPTUNE_SERVICE_PORT",
        "NEPTUNE_PORT_1883_TCP_ADDR",
        "NEPTUNE_BROKER_PORT",
        "NEPTUNE_BROKER_SERVICE_HOST",
        # What the tests of this project are told.
        "NEPTUNE_TEST_BROKER",
        "NEPTUNE_TEST_KUBECONFIG",
        "NEPTUNE_REQUIRE_REAL",
        # What another project's client reads.
        "NEPTUNE_MODE",
        "NEPTUNE_PROJECT",
        "NEPTUNE_API_TOKEN",
        # The sibling program's.
        "NEPTUNE_NODE",
    ],
)
def test_variables_that_are_not_ours_are_left_alone(name: str) -> None:
    assert load(**{name: "tcp://10.0.0.1:1883"})["broker"] == "mqtt://default"
    CLOUD.load([], {name: "tcp://10.0.0.1:1883"})


def test_an_unknown_key_in_the_file_is_refused_with_the_nearest_one(file: Path) -> None:
    file.write_text("log_level = 'debug'\n")
    assert refused("--config", str(file)) == f"{file}: unknown setting 'log_level': did you mean log-level?"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"broker = ", "is not TOML"),
        (b"\xff\xfe", "cannot read"),
        (b'broker = ["a"]', "broker wants one value"),
        (b"broker = {a = 1}", "broker wants one value"),
        (b"workers = true", "workers: 'true' is not a text or a number"),
        (b"zzz = 1", "unknown setting 'zzz': see prog config"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_its_name(file: Path, content: bytes, said: str) -> None:
    file.write_bytes(content)
    text = refused("--config", str(file))
    assert str(file) in text
    assert said in text


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "no.toml" in refused(NEPTUNE_CONFIG=str(tmp_path / "no.toml"))


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        ("workers", "many", "--workers: 'many' is not a whole number"),
        ("workers", "5.5", "--workers: '5.5' is not a whole number"),
        ("workers", "0", "--workers: '0' is not between 1 and 1000"),
        ("poll-seconds", "soon", "--poll-seconds: 'soon' is not a number"),
        ("poll-seconds", "nan", "--poll-seconds: 'nan' is not between 0 and 86400 seconds"),
        ("poll-seconds", "0", "--poll-seconds: '0' is not between 0 and 86400 seconds"),
        ("log-level", "loud", "--log-level: 'loud' is not one of info, debug"),
        ("broker", "", "--broker: '' is empty"),
    ],
)
def test_a_bad_value_is_named_with_its_place_and_its_bounds(flag: str, value: str, said: str) -> None:
    assert refused(f"--{flag}={value}") == said
    variable = f"NEPTUNE_{flag.upper().replace('-', '_')}"
    assert refused(**{variable: value}) == said.replace(f"--{flag}", variable)


def test_a_password_in_a_url_is_shown_nowhere(file: Path) -> None:
    values = load("--broker", "mqtt://me:s3cret@host:1883", "--root", "ftp://me:s3cret@host/a")
    assert values["broker"] == "mqtt://me:s3cret@host:1883"
    assert "s3cret" not in values.table() + str(values.for_log())
    assert "mqtt://***@host:1883" in values.table()
    assert "s3cret" not in refused("--log-level", "mqtt://me:s3cret@host")


def test_the_help_of_the_controller_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        CLOUD.load(["--help"], {})
    assert caught.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 45
    for setting in CLOUD.settings:
        shown = f"[{setting.metavar}]" if setting.parse is yes_or_no else setting.metavar
        assert any(f"--{setting.name} {shown}" in line for line in lines), setting.name


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        PROGRAM.load(["--version"], {})
    assert (caught.value.code, capsys.readouterr().out) == (0, "prog 1.2.3\n")


@pytest.mark.parametrize(
    ("argv", "file", "value"),
    [
        ([], "", False),
        (["--leader-elect"], "", True),
        (["--leader-elect=false"], "leader-elect = true", False),
        ([], "leader-elect = true", True),
        ([], 'leader-elect = "true"', True),
    ],
)
def test_switch_needs_no_value(tmp_path: Path, argv: list[str], file: str, value: bool) -> None:
    (tmp_path / "s.toml").write_text(file)
    values, _ = CLOUD.load(["--config", str(tmp_path / "s.toml"), *argv], {})
    assert values["leader-elect"] is value


def test_switch_is_shown_as_it_is_written() -> None:
    values, _ = CLOUD.load(["--leader-elect"], {})
    assert "leader-elect  true  --leader-elect" in re.sub(" +", "  ", values.table())


def test_switch_that_is_neither_is_refused() -> None:
    with pytest.raises(SettingsError, match="--leader-elect: 'maybe' is not true or false"):
        CLOUD.load(["--leader-elect", "maybe"], {})
