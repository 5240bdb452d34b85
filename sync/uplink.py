"""From journal to ledger: batches, oldest first, again and again until the ledger itself says it has them."""

from __future__ import annotations

import logging

from canteen.clock import Clock
from sync.errors import TransportLost
from sync.messages import JournalEntry, topic_up, write_batch
from sync.pass_journal import JournalReader
from sync.transport import Transport

_log = logging.getLogger("canteen.sync.uplink")

BATCH_ENTRIES = 200
BATCH_BYTES = 256 * 1024
"""About 350 entries; a batch lost to a reset on a 64 kbit/s line then costs half a minute, not more."""

WINDOW_ENTRIES = 4 * BATCH_ENTRIES
"""How far sending may run ahead of the ledger: enough to keep the line busy, too little to flood it."""

_RESEND_AFTER_S = 5.0
_RESEND_AFTER_MAX_S = 120.0


class Uplink:
    """Sends what the ledger has not acknowledged. All state is the journal's mark; the rest may be lost at any time."""

    def __init__(self, journal: JournalReader, transport: Transport, device: str, clock: Clock) -> None:
        self._journal, self._transport, self._clock = journal, transport, clock
        self._topic = topic_up(device, "journal")
        self._sent_up_to = 0
        self._acknowledged = 0
        self._progress_at_s = 0.0
        self._resend_after_s = _RESEND_AFTER_S

    def restart(self) -> None:
        """A new connection: whatever was on its way may be lost, so begin again after the mark."""
        self._sent_up_to = self._acknowledged = self._journal.acknowledged_up_to
        self._progress_at_s = self._clock.monotonic_s()
        self._resend_after_s = _RESEND_AFTER_S

    def step(self) -> int:
        """Send what may be sent now; returns how many entries were. Call it often: idle, it costs one read."""
        now_s = self._clock.monotonic_s()
        acknowledged = self._journal.acknowledged_up_to
        if acknowledged < self._acknowledged:
            self._sent_up_to = acknowledged  # the server lost what it had: begin again where it stands
        if acknowledged != self._acknowledged:
            self._acknowledged, self._progress_at_s = acknowledged, now_s
            self._resend_after_s = _RESEND_AFTER_S
        self._sent_up_to = max(self._sent_up_to, acknowledged)
        if self._sent_up_to > acknowledged and now_s - self._progress_at_s > self._resend_after_s:
            _log.info("no acknowledgement for %.0f s, sending again from %d", self._resend_after_s, acknowledged + 1)
            self._sent_up_to, self._progress_at_s = acknowledged, now_s
            self._resend_after_s = min(2 * self._resend_after_s, _RESEND_AFTER_MAX_S)
        sent = 0
        while self._sent_up_to - acknowledged < WINDOW_ENTRIES:
            entries = self._journal.entries_after(self._sent_up_to, BATCH_ENTRIES)
            if not entries:
                break
            batch, payload = _within_bytes(entries)
            if self._sent_up_to == acknowledged:
                self._progress_at_s = now_s  # the wait for an answer begins with the first one on its way
            try:
                self._transport.publish(self._topic, payload)
            except TransportLost:
                break
            self._sent_up_to = batch[-1].sequence
            sent += len(batch)
        return sent


def _within_bytes(entries: list[JournalEntry]) -> tuple[list[JournalEntry], bytes]:
    """The longest run of `entries` from the first whose batch is not over BATCH_BYTES (but always one)."""
    payload = write_batch(entries)
    while len(payload) > BATCH_BYTES and len(entries) > 1:
        entries = entries[: max(1, len(entries) // 2)]
        payload = write_batch(entries)
    return entries, payload
