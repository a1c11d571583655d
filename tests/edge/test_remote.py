"""Objects at urls: counted once, continued when they have provably grown, and never a crash."""

from __future__ import annotations

import gzip
import subprocess
import sys
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from neptune.edge.counting import Checkpoint, FileCount, Target
from neptune.edge.problems import Problem, Reason
from neptune.edge.remote import WINDOW_BYTES, Credentials, Login, RemoteSource, credentials_of, is_remote
from tests.support.s3 import S3Server
from tests.support.web import Web, serve

#: Above what is read whole whenever it has changed (`proof.WHOLE_BYTES`).
LARGE = b"a line of text\n" * 100_000


@pytest.fixture
def web() -> Iterator[Web]:
    with serve(Web()) as web:
        yield web


def count(
    url: str, known: Checkpoint | None = None, credentials: Credentials | Login | None = None
) -> tuple[Checkpoint, int]:
    """Return the checkpoint, and how many bytes the pass counted."""
    counting = FileCount(Target(url, "txt", known), partial(RemoteSource.open, credentials=credentials))
    found = counting.step(60)
    counting.close()
    assert isinstance(found, Checkpoint), found
    return found, counting.bytes_read


def opened(url: str, credentials: Credentials | None = None) -> RemoteSource:
    found = RemoteSource.open(url, credentials)
    assert isinstance(found, RemoteSource), found
    return found


def problem(url: str, credentials: Credentials | Login | None = None) -> Problem:
    found = RemoteSource.open(url, credentials)
    assert isinstance(found, Problem), found
    return found


def test_an_object_is_counted_and_one_that_grew_from_its_old_end(s3: S3Server) -> None:
    name = f"{uuid.uuid4()}/reviews.txt"
    first, read = count(s3.put(name, LARGE), credentials=s3.credentials)
    assert (first.samples, read) == (100_000, len(LARGE))
    second, read = count(s3.put(name, LARGE + b"more\n"), first, s3.credentials)
    assert (second.samples, read) == (100_001, len(b"more\n"))
    third, read = count(s3.put(name, b"other\n" + LARGE), second, s3.credentials)
    assert (third.samples, read) == (100_001, len(LARGE) + 6)


def test_an_unchanged_object_has_the_same_identity_and_another_one_has_not(s3: S3Server) -> None:
    name = str(uuid.uuid4())
    url = s3.put(name, b"1\n2\n")
    before = opened(url, s3.credentials).identity
    assert opened(url, s3.credentials).identity == before
    assert opened(s3.put(name, b"1\n3\n"), s3.credentials).identity != before


def test_without_credentials_there_is_a_problem_that_says_so(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    url = s3.put(str(uuid.uuid4()), b"1\n")
    # The node's own keys are none of the dataset's.
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.credentials.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.credentials.secret_access_key)
    found = problem(url)
    assert found.reason is Reason.PERMISSION_DENIED
    assert "without credentials" in found.message


def test_wrong_keys_are_a_problem_and_are_not_shown(s3: S3Server) -> None:
    url = s3.put(str(uuid.uuid4()), b"1\n")
    wrong = Credentials("tester", "not-the-secret", endpoint=s3.endpoint)
    found = problem(url, wrong)
    assert found.reason is Reason.PERMISSION_DENIED
    assert "not-the-secret" not in repr(wrong) + found.message


def test_an_object_that_is_not_there_is_a_problem(s3: S3Server, web: Web) -> None:
    assert problem("s3://datasets/missing", s3.credentials).reason is Reason.NOT_FOUND
    assert problem("s3://nobucket/missing", s3.credentials).reason is Reason.NOT_FOUND
    web.content = b"1\n"
    assert count(web.url)[0].samples == 1


@pytest.mark.parametrize("has_ranges", [True, False])
@pytest.mark.parametrize("tags", ["strong", "weak", "none"])
def test_every_kind_of_server_gives_the_right_number_before_and_after_growth(
    web: Web, tags: str, has_ranges: bool
) -> None:
    web.tags, web.has_ranges, web.content = tags, has_ranges, LARGE
    first, _ = count(web.url)
    web.content += b"more\n"
    web.requests.clear()
    second, _ = count(web.url, first)
    assert (first.samples, second.samples) == (100_000, 100_001)
    assert (web.fetched < 200_000) == (tags == "strong" and has_ranges)


@pytest.mark.parametrize("tags", ["strong", "weak", "none"])
def test_asking_what_an_object_is_fetches_nothing(web: Web, tags: str) -> None:
    web.tags, web.content = tags, LARGE
    assert opened(web.url).identity == opened(web.url).identity
    assert web.requests == [("HEAD", 0)] * 2


def test_a_server_that_knows_get_alone_is_asked_by_that(web: Web) -> None:
    web.has_head, web.content = False, LARGE
    first, _ = count(web.url)
    web.content += b"more\n"
    second, read = count(web.url, first)
    assert (first.samples, second.samples, read) == (100_000, 100_001, len(b"more\n"))


@pytest.mark.parametrize("tags", ["strong", "weak"])
def test_an_object_that_changes_while_it_is_read_ends_the_pass(web: Web, tags: str) -> None:
    web.tags, web.content = tags, LARGE
    source = opened(web.url)
    web.content = LARGE.replace(b"text", b"TEXT")
    with pytest.raises(OSError, match="changed while it was read"):
        source.read(0, 100)


def test_reads_at_random_places_and_across_windows_give_the_bytes(web: Web) -> None:
    web.content = bytes(range(256)) * (WINDOW_BYTES // 256 + 10)
    source = opened(web.url)
    end = WINDOW_BYTES
    for offset, length in ((0, 10), (10, 5), (15, end), (end + 15, 300), (7, 3), (len(web.content) - 5, 9), (10**9, 5)):
        assert source.read(offset, length) == web.content[offset : offset + length]


def test_packed_objects_are_counted_as_what_they_hold() -> None:
    with serve(Web(gzip.compress(b"1\n\n2\n"), path="/data.txt.gz")) as packed:
        assert count(packed.url)[0].samples == 2


@pytest.mark.parametrize("has_ranges", [True, False])
def test_an_object_that_its_server_packs_on_the_way_is_a_problem_unless_its_name_says_so(has_ranges: bool) -> None:
    packed = gzip.compress(b"1\n2\n")
    with serve(Web(packed, encoding="gzip", has_ranges=has_ranges)) as web:
        found = FileCount(Target(web.url, "txt", None), RemoteSource.open).step(60)
    assert isinstance(found, Problem)
    assert "gzip (Content-Encoding)" in found.message
    with serve(Web(packed, encoding="gzip", has_ranges=has_ranges, path="/a.gz")) as web:
        assert count(web.url)[0].samples == 2


def test_a_server_that_is_away_is_a_problem() -> None:
    found = problem("http://127.0.0.1:1/data.txt")
    assert found.reason is Reason.READ_FAILED
    assert found.message.endswith("trying again")
    assert "\n" not in found.message


@pytest.mark.parametrize(
    "url",
    ["http://user:secret@127.0.0.1/x", "https://127.0.0.1/x?token=secret", "s3://bucket", "http:///x", "s3://b/a//b"],
)
def test_urls_that_name_no_object_or_hold_secrets_are_refused(url: str) -> None:
    found = problem(url)
    assert found.reason is Reason.BAD_URL
    assert "token" not in found.message
    assert "user:" not in found.message


@pytest.mark.parametrize(
    ("values", "authorization"),
    [
        ({"username": "us", "password": "päss:word"}, "Basic dXM6cMOkc3M6d29yZA=="),
        ({"token": "a.b-c"}, "Bearer a.b-c"),
    ],
)
def test_a_web_server_sees_the_name_and_password_or_the_token_on_every_request(
    web: Web, values: dict[str, str], authorization: str
) -> None:
    web.content, web.authorization = LARGE, authorization
    assert problem(web.url).reason is Reason.PERMISSION_DENIED
    assert problem(web.url, Login.bearer("wrong")).reason is Reason.PERMISSION_DENIED
    web.shown.clear()
    login = credentials_of(web.url, values)
    assert isinstance(login, Login)
    assert count(web.url, credentials=login)[0].samples == 100_000
    assert len(web.shown) >= 2
    assert set(web.shown) == {authorization}


def test_a_server_that_redirects_to_another_one_does_not_pass_the_password_on(web: Web) -> None:
    web.content = b"1\n2\n"
    with serve(Web(redirect_to=web.url)) as first:
        assert count(first.url, credentials=Login.bearer("a-secret"))[0].samples == 2
        assert set(first.shown) == {"Bearer a-secret"}
    assert set(web.shown) == {None}


@pytest.mark.parametrize("url", ["s3://b/k", "https://h/x"])
def test_credentials_for_another_kind_of_url_are_a_problem_that_shows_none_of_them(url: str) -> None:
    found = credentials_of(url, {"accessKeyID": "hidden", "username": "hidden"})
    assert isinstance(found, Problem)
    assert found.reason is Reason.CREDENTIALS_INVALID
    assert "hidden" not in found.message


def test_credentials_show_no_value() -> None:
    secret = {"accessKeyID": "key", "secretAccessKey": "hidden", "sessionToken": "hidden", "region": "r"}
    keys = credentials_of("S3://b/k", secret)
    assert keys == Credentials("key", "hidden", "hidden", "r")
    assert "hidden" not in repr([keys, credentials_of("https://h/x", {"token": "hidden"})])


def test_only_the_urls_of_objects_are_remote() -> None:
    assert [is_remote(url) for url in ("http://h/x", "HTTPS://h/x", "s3://b/k")] == [True] * 3
    assert [is_remote(url) for url in ("/http://x", "file:///x", "ftp://h/x", "s3:b", "")] == [False] * 5


def test_a_node_without_the_library_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['obstore'] = None\n")
    script = Path(sys.executable).with_name("neptune")
    done = subprocess.run(
        [script, "count", "s3://bucket/key"], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "pip install 'neptune-edge[remote]'" in done.stderr


def test_the_command_counts_objects_with_the_keys_in_its_environment(s3: S3Server, web: Web) -> None:
    web.content = b"1\n2\n3\n"
    url = s3.put(f"{uuid.uuid4()}.csv", b"header\n1\n")
    keys = s3.credentials
    environ = {
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_REGION": keys.region,
        "AWS_ENDPOINT_URL": keys.endpoint,
    }
    script = Path(sys.executable).with_name("neptune")
    done = subprocess.run(
        [script, "count", web.url, url], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["3", "1", "4"]
