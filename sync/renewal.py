"""The certificate renews itself over the line it opens: asked for by its own key, signed by the server.

canteen/<device>/up/renewal         {"v","certificate_request","certificate","signature"}
canteen/<device>/down/certificate   CertificateMessage

The broker is not believed: what is asked is signed by the present TLS key, what comes by the server's signing key.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from canteen.clock import Clock
from canteen.identifiers import DeviceId
from sync.encoding import canonical, parse_object
from sync.errors import MalformedMessage, TransportLost
from sync.messages import topic_up
from sync.provisioning import RenewalWish, read_certificate_message, renewal_statement
from sync.signing import VerifyingKey
from sync.tls_files import TlsFiles, is_due
from sync.transport import Transport

_log = logging.getLogger("canteen.sync.renewal")

_LOOK_EVERY_S = 3600.0
_ASK_AGAIN_S = 600.0


class Renewal:
    """Looks at the certificate now and then, and asks for the next one in time."""

    def __init__(
        self,
        files: TlsFiles,
        device: DeviceId,
        server: VerifyingKey,
        clock: Clock,
        reload: Callable[[], None],
        look_every_s: float = _LOOK_EVERY_S,
    ) -> None:
        """`reload` has the connection read the files again, for the next time it is made."""
        self._files, self._device, self._server, self._clock = files, device, server, clock
        self._reload, self._look_every_s = reload, look_every_s
        self._look_at_s = 0.0
        self._authority: str | None = None

    def note_authority(self, fingerprint: str | None) -> None:
        """The server's greeting says whose certificates it gives out now."""
        if fingerprint is not None and fingerprint != self._authority:
            self._authority, self._look_at_s = fingerprint, 0.0

    def step(self, transport: Transport) -> None:
        """Ask, where it is time. Called at every turn; nearly always it costs a comparison."""
        now_s = self._clock.monotonic_s()
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + self._look_every_s
        try:
            wish = self.wish()
            if wish is None:
                return
            transport.publish(topic_up(self._device, "renewal"), canonical(wish.write()))
        except TransportLost:
            self._look_at_s = 0.0
        except (MalformedMessage, OSError) as trouble:
            _log.error("the certificate is not renewed: %s", trouble)
        else:
            self._look_at_s = now_s + min(_ASK_AGAIN_S, self._look_every_s)
            left = self._files.present().not_valid_after_utc - self._clock.utc_now()
            _log.info("asked for another certificate; the present one lasts %s", left - left % timedelta(seconds=1))

    def wish(self) -> RenewalWish | None:
        """What to ask the server for, where it is time.

        Raises:
            MalformedMessage: our certificate or key cannot be read.
            OSError: the next key cannot be written.
        """
        other = self._authority is not None and not self._files.trusts(self._authority)
        if not other and not is_due(self._files.present(), self._clock.utc_now()):
            return None
        request = self._files.request()
        return RenewalWish(
            request,
            self._files.certificate.read_text(encoding="ascii"),
            self._files.sign(renewal_statement(self._device, request)),
        )

    def take(self, untrusted_payload: bytes) -> None:
        """A certificate came. Raises MalformedMessage, BadSignature."""
        message = read_certificate_message(parse_object(untrusted_payload))
        message.verify(self._server)
        if message.device != self._device:
            raise MalformedMessage("a certificate for another device")
        try:
            installed = self._files.install(message.certificate, message.authority)
        except OSError as error:
            _log.error("the new certificate cannot be written: %s", error)
            return
        if installed:
            _log.info("a new certificate is in place")
            self._reload()
