"""Datasets that need credentials: a Secret, a broker with TLS, and servers that let nobody in without."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from neptune.controllers.dataset.credentials import NEEDED, OPTIONAL, ROLE
from neptune.protocol import codec
from neptune.protocol.messages import CredentialsResult, GetCredentials, Header
from neptune.protocol.topics import Topics, Verb
from neptune.transport import Message, Received, Session
from neptune.transport.mqtt import MqttSettings, MqttTransport
from tests.integration.test_deploy import CLOUD, CREDENTIALS
from tests.integration.world import TlsWorld, World
from tests.support.kubectl import kubectl
from tests.support.missing import missing
from tests.support.mosquitto import ANYBODY, Mosquitto
from tests.support.s3 import BUCKET, NO_S3, S3Server, find_s3
from tests.support.transports import closing, connect, until
from tests.support.web import Web, serve

PASSWORD, OTHER = "correct-horse-battery", "staple-horse-battery"
HEADERS = {PASSWORD: "Basic dXM6Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5", OTHER: "Basic dXM6c3RhcGxlLWhvcnNlLWJhdHRlcnk="}


@pytest.fixture
def web() -> Iterator[Web]:
    with serve(Web(b"1\n2\n", authorization=HEADERS[PASSWORD])) as web:
        yield web


@pytest.fixture
def own_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    executable = find_s3(os.environ)
    if executable is None:
        missing(NO_S3)
    with S3Server(executable, tmp_path_factory.mktemp("s3")) as server:
        yield server


def start(world: TlsWorld, *roots: str) -> None:
    world.cloud()
    flags = [word for root in roots for word in ("--root", root)]
    world.edge("edge0", *flags, "--url-seconds", "1")


def root_of(web: Web) -> str:
    return web.url.removesuffix(web.path)


def test_an_object_in_a_bucket_is_counted_and_a_rotated_key_heals(tls_world: TlsWorld, own_s3: S3Server) -> None:
    keys = own_s3.credentials
    data = {"accessKeyID": keys.access_key_id, "region": keys.region, "endpoint": own_s3.endpoint}
    tls_world.put_secret("keys", secretAccessKey=keys.secret_access_key, **data)
    start(tls_world, f"s3://{BUCKET}/", f"{own_s3.endpoint}/")
    tls_world.apply("data", own_s3.put("reviews.txt", b"1\n2\n3\n"), "edge0", credential="keys")
    tls_world.expect_samples("data", 3)
    own_s3.rotate("another-secret-of-the-tester")
    own_s3.put("reviews.txt", b"1\n2\n3\n4\n")
    assert "with these credentials" in tls_world.expect_reason("data", "PermissionDenied")["message"]
    tls_world.put_secret("keys", secretAccessKey="another-secret-of-the-tester", **data)
    tls_world.expect_samples("data", 4)


def test_an_object_behind_a_password_waits_for_its_secret_and_for_the_right_one(tls_world: TlsWorld, web: Web) -> None:
    start(tls_world, root_of(web))
    tls_world.apply("data", web.url, "edge0", credential="login")
    assert "there is no Secret" in tls_world.expect_reason("data", "CredentialsNotFound")["message"]
    tls_world.until(
        lambda: "NoCredentials" in tls_world.kubectl("get", "events.events.k8s.io"),
        lambda: tls_world.kubectl("get", "events.events.k8s.io"),
    )
    tls_world.put_secret("login", username="us")
    assert "has not the keys" in tls_world.expect_reason("data", "CredentialsInvalid")["message"]
    tls_world.put_secret("login", username="us", password=OTHER)
    tls_world.expect_reason("data", "PermissionDenied")
    tls_world.put_secret("login", username="us", password=PASSWORD)
    tls_world.expect_samples("data", 2)


def test_a_controller_without_the_right_says_which_role_it_lacks(tls_world: TlsWorld, web: Web) -> None:
    for manifest in (CLOUD, CREDENTIALS):
        kubectl("apply", "--server-side", "-f", str(manifest), kubeconfig=tls_world.kubeconfig)
    tls_world.account = tls_world.as_account("neptune-system", "cloud-controller")
    tls_world.put_secret("login", username="us", password=PASSWORD)
    start(tls_world, root_of(web))
    tls_world.apply("data", web.url, "edge0", credential="login")
    assert ROLE in tls_world.expect_reason("data", "CredentialsForbidden")["message"]
    command = next(line for line in CREDENTIALS.read_text().splitlines() if "kubectl" in line)
    assert f"create rolebinding {ROLE} " in command
    tls_world.kubectl("create", "rolebinding", ROLE, "--clusterrole", ROLE,
                      "--serviceaccount", "neptune-system:cloud-controller")  # fmt: skip
    tls_world.expect_samples("data", 2)


async def test_a_node_that_asks_for_those_of_another_is_refused(tls_world: TlsWorld, web: Web) -> None:
    tls_world.put_secret("login", username="us", password=PASSWORD)
    start(tls_world, root_of(web))
    tls_world.apply("data", web.url, "edge0", credential="login")
    tls_world.expect_samples("data", 2)
    tls_world.make("node", "edge1")
    ca, certificate, key = (tls_world.certs / name for name in ("ca.crt", "edge1.crt", "edge1.key"))
    settings = MqttSettings(
        url=tls_world.broker_url, client_id="edge1", ca_file=ca, cert_file=certificate, key_file=key
    )
    thief = MqttTransport(settings)
    topics, uid = Topics(), tls_world.dataset("data")["metadata"]["uid"]
    async with closing(thief):
        await connect(thief, Session(topics.filters_of_node("edge1")))
        for node in ("edge0", "edge1"):  # the access list lets it speak for itself alone
            question = codec.encode(Header("mine", 0, node_epoch=1), GetCredentials(uid, encrypted=True))
            await thief.publish(Message(topics.node(node, Verb.GET), question))
        answer = await until(thief, Received, lambda event: event.topic == topics.node("edge1", Verb.GET_RESULT))
    header, body = codec.decode(answer.payload)
    assert (header.code, header.event_id, body) == (403, "mine", CredentialsResult(uid))


def test_the_api_says_which_keys_the_secret_has(tls_world: TlsWorld) -> None:
    shown = tls_world.kubectl("explain", "datasets.spec.credentialName", "--api-version", "neptune.io/v1alpha1")
    assert all(key in shown for keys in NEEDED.values() for needed in keys for key in needed)
    assert all(key in shown for keys in OPTIONAL.values() for key in keys)


def test_without_tls_no_credentials_travel_and_the_condition_says_what_to_do(world: World, web: Web) -> None:
    world.put_secret("login", username="us", password=PASSWORD)
    world.start_cloud()
    world.start_edge("edge0", "--root", root_of(web))
    world.apply("data", web.url, "edge0", credential="login")
    assert "mqtts://" in world.expect_reason("data", "CredentialsNeedTLS")["message"]
    assert web.requests == []


def test_they_are_on_one_topic_and_in_memory_and_nowhere_else(
    tls_world: TlsWorld, web: Web, start_mosquitto: Callable[..., Mosquitto]
) -> None:
    certs = tls_world.certs
    tls_world.broker = start_mosquitto(
        config=f"{ANYBODY}cafile {certs}/ca.crt\ncertfile {certs}/server.crt\nkeyfile {certs}/server.key\n"
    )
    heard: list[tuple[str, bytes]] = []
    listener = Client(CallbackAPIVersion.VERSION2)
    listener.tls_set(str(tls_world.certs / "ca.crt"))
    listener.on_message = lambda _client, _userdata, message: heard.append((message.topic, bytes(message.payload)))
    listener.connect("127.0.0.1", tls_world.broker.port)
    listener.subscribe([("#", 1), ("$hw/#", 1)])
    listener.loop_start()
    secrets = (PASSWORD, HEADERS[PASSWORD].removeprefix("Basic "))
    try:
        tls_world.put_secret("login", username="us", password=PASSWORD)
        start(tls_world, root_of(web))
        tls_world.apply("data", web.url, "edge0", credential="login")
        tls_world.expect_samples("data", 2)
        web.authorization = HEADERS[OTHER]
        web.content += b"3\n"
        tls_world.expect_reason("data", "PermissionDenied")
        told = {"datasets": tls_world.kubectl("get", "datasets,events", "-o", "yaml").encode()}
        told["status"] = tls_world.run("edge-agent", "status", "--state-dir", str(tls_world.folder / "edge0"),
                                       "--output", "json").stdout.encode()  # fmt: skip
        for name, process in tls_world.processes.items():
            for part in ("cmdline", "environ"):
                told[f"{part} of {name}"] = Path(f"/proc/{process.pid}/{part}").read_bytes()
        told |= {str(path): path.read_bytes() for path in tls_world.folder.rglob("*") if path.is_file()}
    finally:
        listener.loop_stop()
        listener.disconnect()
    tls_world.stop()
    told |= {str(path): path.read_bytes() for path in tls_world.folder.rglob("*") if path.is_file()}
    told |= {f"message {number} on {topic}": payload for number, (topic, payload) in enumerate(heard)}
    assert b"reviews" not in told["status"]
    assert sqlite3.connect(tls_world.folder / "edge0" / "node.db").execute("SELECT count(*) FROM objects").fetchone()
    leaks = {where for where, what in told.items() for secret in secrets if secret.encode() in what}
    # Which the access list lets nobody read but the node; here is none, or the listener would have heard nothing.
    assert leaks
    assert all(where.endswith(" on $hw/events/node/edge0/neptune/get/result") for where in leaks)
