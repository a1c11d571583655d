"""The way that docs/brokers.md tells: `neptune certs`, the shipped mosquitto configuration, and the two programs."""

from __future__ import annotations

from tests.integration.world import TlsWorld


def test_a_number_travels_over_certificates_and_a_renewed_one_is_picked_up(tls_world: TlsWorld) -> None:
    tls_world.cloud()
    tls_world.edge("edge0")
    tls_world.apply("data", tls_world.write("data.txt", "1\n2\n"), "edge0")
    tls_world.expect_samples("data", 2)
    tls_world.make("node", "edge0", "--renew")
    tls_world.broker.restart()
    tls_world.append("data.txt", "3\n")
    tls_world.expect_samples("data", 3)


def test_an_agent_with_the_certificate_of_another_node_is_told_what_may_be_wrong(tls_world: TlsWorld) -> None:
    tls_world.start_edge("edge1", *tls_world.with_certificate("edge0"))
    line = tls_world.expect_log("edge1", "publish denied")
    assert "let this node's user write to the topic in the access list of the broker" in line
