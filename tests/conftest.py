"""What several rings of tests share: a real broker, a free port, and waiting for something to become true."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.broker import SERVER_NAME, start_broker, write_broker_configuration
from demo.pki import CertificateAuthority
from sync.mqtt_transport import BrokerSettings


def free_port() -> int:
    """A loopback port nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_until(true: Callable[[], bool], timeout_s: float = 30, what: str = "it") -> None:
    """Return as soon as `true()` is; fail after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"waited {timeout_s} s for {what}")
        time.sleep(0.02)


@dataclass(frozen=True)
class RunningBroker:
    """A Mosquitto of this test's own, with its authority."""

    port: int
    authority: CertificateAuthority
    configuration: Path
    log: Path

    def settings(self, name: str, port: int | None = None) -> BrokerSettings:
        files = self.authority.issue(name)
        return BrokerSettings(
            "127.0.0.1", port or self.port, self.authority.certificate, files.certificate, files.key, keepalive_s=5
        )

    @property
    def server_settings(self) -> BrokerSettings:
        return self.settings(SERVER_NAME)


def listening(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningBroker]:
    """A real Mosquitto with mutual TLS on a port of its own."""
    port = free_port()
    authority = CertificateAuthority(tmp_path / "pki")
    configuration = write_broker_configuration(tmp_path / "broker", port, authority)
    log = tmp_path / "broker.log"
    process = start_broker(configuration, log)
    try:
        wait_until(lambda: listening(port), what="the broker")
        yield RunningBroker(port, authority, configuration, log)
    finally:
        process.terminate()
        process.wait(timeout=5)
