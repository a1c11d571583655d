"""The door through Docker. It is an alternative to executables, so these tests run only where Docker answers."""

from __future__ import annotations

import pytest

from tests.support.doors import MOSQUITTO_IMAGE
from tests.support.mosquitto import Broker
from tests.testing.test_mosquitto import ACCEPTED, connect


@pytest.fixture
def docker() -> None:
    from tests.support import containers

    if not containers.docker_answers():
        pytest.skip("Docker does not answer; the other doors need none")


def test_broker_in_a_container_lets_everybody_in(docker: None) -> None:
    from tests.support import containers

    with containers.mosquitto(MOSQUITTO_IMAGE) as (host, port):
        assert connect(Broker(host, port)) == ACCEPTED


def test_port_that_nobody_answers_on_is_said_with_what_to_set(unused_tcp_port: int) -> None:
    from tests.support import containers

    with pytest.raises(ConnectionError, match="TESTCONTAINERS_CONNECTION_MODE"):
        containers._check_reachable("127.0.0.1", unused_tcp_port)
