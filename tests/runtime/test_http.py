from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from neptune.api.core import Namespace
from neptune.errors import SettingsError
from neptune.runtime import ApiError, ApiUnreachable, Client, Forbidden, ServerError, TooManyRequests, Unauthorized
from neptune.runtime.session import Cause
from tests.runtime.widgets import (
    Widget,
    faulty_server,
    item,
    key,
    listing,
    new_widget,
    status,
    streaming,
    write_kubeconfig,
)
from tests.runtime.wire import head_of, ok, sends, serving

NEVER = streaming()


def answers(*each: Callable[[web.Request], object]) -> Callable[[web.Request], object]:
    """Give one answer after the other, the last one for ever."""
    left = list(each)

    async def answer(request: web.Request) -> object:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)  # type: ignore[misc]  # all are async

    return answer


async def list_from(
    tmp_path: Path, answer: object, *, timeout_seconds: float = 10.0, **user: object
) -> tuple[int, object]:
    """List once, and return the number of requests that it took and the names or the error."""
    async with faulty_server(tmp_path, on_list=answer, on_watch=NEVER, **user) as server:  # type: ignore[arg-type]  # untyped answers
        client = Client(server.kubeconfig, timeout_seconds=timeout_seconds)
        try:
            listed = await client.list(Widget)
        except ApiError as error:
            return server.count("list"), error
        finally:
            await client.close()
        return server.count("list"), [each.metadata.name for each in listed.items]


async def test_429_is_repeated_after_the_time_that_the_server_names(tmp_path: Path) -> None:
    busy = status(429, "TooManyRequests", **{"Retry-After": "0"})
    assert await list_from(tmp_path, answers(busy, busy, listing(item("a")))) == (3, ["a"])


Verb = Callable[[Client], Awaitable[object]]
EVERY_VERB: dict[str, Verb] = {
    "get": lambda client: client.get(Widget, key("a")),
    "list": lambda client: client.list(Widget),
    "create": lambda client: client.create(new_widget("a")),
    "update": lambda client: client.update(new_widget("a")),
    "patch": lambda client: client.patch(new_widget("a")),
    "json_patch": lambda client: client.json_patch(Widget, key("a"), []),
    "apply": lambda client: client.apply(new_widget("a")),
    "delete": lambda client: client.delete(Widget, key("a")),
    "delete_all": lambda client: client.delete_all(Widget, "ns"),
    "status.apply": lambda client: client.status.apply(new_widget("a")),
}


@pytest.mark.parametrize("verb", EVERY_VERB)
@pytest.mark.parametrize("code", [429, 500, 503, 504])
async def test_every_verb_is_repeated_when_the_server_says_after_how_long(tmp_path: Path, verb: str, code: int) -> None:
    busy = status(code, "Busy", **{"Retry-After": "0"})
    requests = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal requests
        requests += 1
        good = {**item("a"), "items": []}
        return await busy(request) if requests < 3 else web.json_response(good)

    async with faulty_server(tmp_path, on_list=answer, on_watch=NEVER) as server:
        client = Client(server.kubeconfig)
        try:
            await EVERY_VERB[verb](client)
        except ApiError as error:
            pytest.fail(f"{verb} gave up: {error}")
        finally:
            await client.close()
    assert requests == 3


async def test_429_is_not_repeated_for_ever_nor_without_a_time(tmp_path: Path) -> None:
    count, error = await list_from(tmp_path, status(429, "TooManyRequests", **{"Retry-After": "0"}))
    assert (count, type(error)) == (4, TooManyRequests)
    count, error = await list_from(tmp_path, status(429, "TooManyRequests"))
    assert (count, type(error)) == (1, TooManyRequests)


async def test_a_repetition_that_would_come_after_the_deadline_gives_way_to_what_the_server_said(
    tmp_path: Path,
) -> None:
    busy = status(429, "TooManyRequests", **{"Retry-After": "1000"})
    count, error = await list_from(tmp_path, busy, timeout_seconds=5.0)
    assert isinstance(error, TooManyRequests)
    assert (count, error.retry_after) == (1, 1000.0)


async def test_a_refusal_is_not_repeated(tmp_path: Path) -> None:
    count, error = await list_from(tmp_path, status(403, "Forbidden"))
    assert (count, type(error)) == (1, Forbidden)
    count, error = await list_from(tmp_path, status(500, "InternalError"))
    assert (count, type(error)) == (1, ServerError)


async def cut(request: web.Request) -> web.StreamResponse:
    assert request.transport
    request.transport.close()
    return web.Response()


async def test_a_get_whose_connection_breaks_is_repeated_once(tmp_path: Path) -> None:
    assert await list_from(tmp_path, answers(cut, listing(item("a")))) == (2, ["a"])
    count, error = await list_from(tmp_path, cut)
    assert (count, type(error)) == (2, ApiUnreachable)


async def test_a_post_or_patch_whose_connection_breaks_is_not_repeated(tmp_path: Path) -> None:
    async with faulty_server(tmp_path, on_list=cut, on_watch=NEVER) as server:
        client = Client(server.kubeconfig)
        with pytest.raises(ApiUnreachable):
            await client.create(new_widget("a"))
        assert server.count("POST") == 1
        await client.close()


async def test_a_server_that_never_answers_ends_in_an_error_that_names_it(tmp_path: Path) -> None:
    count, error = await list_from(tmp_path, NEVER, timeout_seconds=0.05)
    assert (count, type(error)) == (1, ApiUnreachable)
    assert "http://127.0.0.1:" in str(error)


async def test_nobody_listening_ends_in_an_error_that_says_what_to_check(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        client = Client(write_kubeconfig(tmp_path / "config", url))
        with pytest.raises(ApiUnreachable, match=r"is unreachable: .*check that the API server runs") as raised:
            await client.get(Widget, key("a"))
        assert url in str(raised.value)
        await client.close()


async def test_the_token_goes_with_each_request_and_is_read_again_after_a_401(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune.runtime.http.RELOAD_SECONDS", 0.0)
    token = tmp_path / "token"
    token.write_text("old")
    seen = []

    async def guarded(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["Authorization"])
        if seen[-1] == "Bearer old":
            token.write_text("new")
            return await status(401, "Unauthorized")(request)
        return await listing(item("a"))(request)

    assert await list_from(tmp_path, guarded, tokenFile=str(token)) == (2, ["a"])
    assert seen == ["Bearer old", "Bearer new"]


async def test_a_401_that_stays_is_an_error_after_one_look_for_better_credentials(tmp_path: Path) -> None:
    count, error = await list_from(tmp_path, status(401, "Unauthorized"), token="t")
    assert (count, type(error)) == (1, Unauthorized)


async def test_an_exec_plugin_gives_and_refreshes_the_token_without_blocking_the_loop(tmp_path: Path) -> None:
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-plugin", "expirationTimestamp": "2020-01-01T00:00:00Z"},
    }
    code = f"import time; time.sleep(0.4); print({json.dumps(credential)!r})"
    plugin = {"apiVersion": credential["apiVersion"], "command": sys.executable, "args": ["-c", code]}
    seen = []

    async def guarded(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        return await listing()(request)

    longest_gap = 0.0

    async def tick() -> None:
        nonlocal longest_gap
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.01)
            longest_gap = max(longest_gap, loop.time() - before)

    ticking = asyncio.create_task(tick())
    assert await list_from(tmp_path, guarded, exec=plugin) == (1, [])
    ticking.cancel()
    assert seen == ["Bearer from-plugin"]
    assert longest_gap < 0.3


async def test_an_exec_plugin_that_failed_is_run_again_when_the_server_refuses_the_anonymous(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune.runtime.http.RELOAD_SECONDS", 0.0)
    credential = tmp_path / "credential"
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "cat", "args": [str(credential)]}

    async def guarded(request: web.Request) -> web.StreamResponse:
        if "Authorization" in request.headers:
            return await listing(item("a"))(request)
        answer = {"apiVersion": plugin["apiVersion"], "kind": "ExecCredential", "status": {"token": "t"}}
        credential.write_text(json.dumps(answer))
        return await status(403, "Forbidden")(request)

    assert await list_from(tmp_path, guarded, exec=plugin) == (2, ["a"])


async def test_a_certificate_of_another_authority_is_refused_unless_told_not_to_look(
    kubeconfig: Path, tmp_path: Path
) -> None:
    config = yaml.safe_load(kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    for name in ("certificate-authority", "certificate-authority-data"):
        cluster.pop(name, None)
    path = tmp_path / "config"
    path.write_text(json.dumps(config))
    client = Client(path)
    with pytest.raises(ApiUnreachable, match="check certificate-authority"):
        await client.list(Namespace)
    await client.close()
    cluster["insecure-skip-tls-verify"] = True
    path.write_text(json.dumps(config))
    client = Client(path)
    assert (await client.list(Namespace)).items
    await client.close()


def write_config(path: Path, server: str, **cluster: str) -> Path:
    config = json.loads(write_kubeconfig(path, server, token="t").read_text())
    config["clusters"][0]["cluster"].update(cluster)
    path.write_text(json.dumps(config))
    return path


async def test_a_token_that_no_header_can_carry_is_refused_and_not_told(tmp_path: Path) -> None:
    count, error = await list_from(tmp_path, listing(), token="secret\r\nX-Remote-User: admin")
    assert (count, type(error)) == (0, ApiUnreachable)
    assert "Authorization holds a character that no header may have" in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    "server", ["https://", "https://kube:port", "https://kube:99999", "ftp://kube", "https://a..b"]
)
async def test_a_server_that_is_no_url_of_one_is_a_matter_of_the_settings(tmp_path: Path, server: str) -> None:
    client = Client(write_config(tmp_path / "config", server))
    with pytest.raises(SettingsError, match="Look at `server` and `proxy-url` in the kubeconfig"):
        await client.connect()
    await client.close()


async def test_the_proxy_of_a_kubeconfig_is_used(tmp_path: Path) -> None:
    heads = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await head_of(reader))
        writer.write(ok(json.dumps({**item("a"), "metadata": {}, "items": []}).encode()))

    async with serving(proxy) as port:
        url = f"http://user:pw@127.0.0.1:{port}"
        client = Client(write_config(tmp_path / "config", "http://kube.example:6443", **{"proxy-url": url}))
        assert (await client.list(Widget)).items == []
        await client.close()
    assert heads[0].startswith("GET http://kube.example:6443/apis/example.com/v1/widgets?")
    assert "Host: kube.example:6443\r\n" in heads[0]
    assert "Proxy-Authorization: Basic dXNlcjpwdw==\r\n" in heads[0]
    assert "Authorization: Bearer t\r\n" in heads[0]


async def test_a_list_may_come_compressed_and_is_read_when_it_does(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.json_response({"metadata": {}, "items": [item("a")]})
        response.enable_compression()  # if it is asked for
        assert request.headers["Accept-Encoding"] == "gzip"
        return response

    assert await list_from(tmp_path, answer) == (1, ["a"])


async def test_what_is_no_http_is_unreachable_with_what_came_and_counted_with_the_status_that_was_seen(
    tmp_path: Path,
) -> None:
    seen: list[int] = []

    class Statuses(NoObserver):
        def answered(self, method: str, status: int, host: str) -> None:
            seen.append(status)

    async with serving(sends(b"SSH-2.0\r\n", hold=True)) as port:
        client = Client(write_kubeconfig(tmp_path / "config", f"http://127.0.0.1:{port}"))
        client.measure(Statuses())
        with pytest.raises(ApiUnreachable, match=r"is unreachable: .*is a proxy on the way\? b'SSH-2\.0"):
            await client.get(Widget, key("a"))
        await client.close()
    async with serving(sends(ok(b"{}")[:-1])) as port:
        client = Client(write_kubeconfig(tmp_path / "config", f"http://127.0.0.1:{port}"))
        client.measure(Statuses())
        with pytest.raises(ApiUnreachable, match="broke before the answer was complete"):
            await client.get(Widget, key("a"))
        await client.close()
    assert seen == [0, 200]


class NoObserver:
    def repeated(self, method: str, status: int, host: str) -> None:
        pass

    def finished(self, method: str, host: str, seconds: float) -> None:
        pass

    def broke(self, cause: Cause) -> None:
        pass
