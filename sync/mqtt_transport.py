"""MQTT v5 over mutual TLS by paho-mqtt, QoS 1. The certificate's common name is the user, and bounds the topics."""

from __future__ import annotations

import logging
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from sync.errors import TransportLost
from sync.transport import MessageHandler, StateHandler

_log = logging.getLogger("canteen.sync.mqtt")

_QOS = 1
_RECONNECT_MIN_S = 1
_RECONNECT_MAX_S = 15
"""A school's router takes a minute to come back; asking every 15 s costs nothing and the lane's screen is right
soon."""


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """Where the broker is and how we prove who we are.

    Attributes:
        ca: PEM file of the school's certificate authority; the broker's certificate must come from it.
        certificate: our PEM certificate; `key` its private key (0600).
        session_expiry_s: how long the broker keeps what it has for us while we are away; 0: it forgets us at once.
    """

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path
    keepalive_s: int = 15
    session_expiry_s: int = 7 * 86400


class MqttTransport:
    """A `Transport` over one MQTT connection."""

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        on_message: MessageHandler,
        on_connected: StateHandler,
        on_lost: StateHandler,
    ) -> None:
        """Prepares the connection; nothing is sent before `start`.

        Raises:
            OSError: a certificate file cannot be read.
            ssl.SSLError: a certificate file is not one.
        """
        self._settings = settings
        self._on_message, self._on_connected, self._on_lost = on_message, on_connected, on_lost
        self._patterns: list[str] = []
        self._connected = False
        self._lock = threading.Lock()
        self._unconfirmed = 0
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5)
        self._context = context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(settings.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(str(settings.certificate), str(settings.key))
        self._client.tls_set_context(context)
        self._client.reconnect_delay_set(_RECONNECT_MIN_S, _RECONNECT_MAX_S)
        self._client.on_connect = self._connection_made
        self._client.on_disconnect = self._connection_lost
        self._client.on_message = self._message_came
        self._client.on_publish = self._message_confirmed

    @property
    def connected(self) -> bool:
        return self._connected

    @property
    def unconfirmed(self) -> int:
        return self._unconfirmed

    def reload(self) -> None:
        """Read the certificate files again; the present connection stays, the next one is made with them.

        Raises:
            OSError, ssl.SSLError: they cannot be used.
        """
        self._context.load_verify_locations(str(self._settings.ca))
        self._context.load_cert_chain(str(self._settings.certificate), str(self._settings.key))

    def start(self) -> None:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.SessionExpiryInterval = self._settings.session_expiry_s
        self._client.connect_async(
            self._settings.host,
            self._settings.port,
            keepalive=self._settings.keepalive_s,
            clean_start=self._settings.session_expiry_s == 0,
            properties=properties,
        )
        self._client.loop_start()

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def subscribe(self, pattern: str) -> None:
        self._patterns.append(pattern)
        if self._connected:
            self._client.subscribe(pattern, options=_options(pattern))

    def publish(self, topic: str, payload: bytes) -> None:
        if not self._connected:
            raise TransportLost
        with self._lock:
            self._unconfirmed += 1  # paho keeps it, and sends it again by itself, until the broker has it
        answer = self._client.publish(topic, payload, qos=_QOS)
        if answer.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise TransportLost(answer.rc.name)

    def _connection_made(self, client: Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            _log.warning("broker refused the connection: %s", reason)
            return
        self._connected = True
        for pattern in self._patterns:
            client.subscribe(pattern, options=_options(pattern))
        self._guarded(self._on_connected)

    def _connection_lost(self, _client: Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        was_connected, self._connected = self._connected, False
        if was_connected:
            _log.info("connection lost: %s", reason)
        self._guarded(self._on_lost)

    def _message_came(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        try:
            untrusted_topic = message.topic
        except UnicodeDecodeError:
            _log.warning("refused a message: its topic is not UTF-8")
            return
        self._guarded(lambda: self._on_message(untrusted_topic, bytes(message.payload)))

    def _message_confirmed(self, *_: Any) -> None:
        with self._lock:
            self._unconfirmed -= 1

    def _guarded(self, handler: StateHandler) -> None:
        """The per-message handler's frame: an exception here would end paho's thread, and with it all traffic."""
        try:
            handler()
        except Exception:  # noqa: BLE001 - the per-message frame: one bad message must not stop the next
            _log.exception("a message was not handled")


def _options(pattern: str) -> SubscribeOptions:
    """What we publish ourselves need not come back; a shared subscription must not ask for that."""
    return SubscribeOptions(qos=_QOS, noLocal=not pattern.startswith("$share/"))
