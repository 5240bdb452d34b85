"""What leaves a terminal and what reaches it: the pass journal, the order box, messages, signatures, MQTT.

The network's end of a terminal: it moves signed facts up and signed, sealed orders down, and can read neither hands nor
codes. Imports `canteen`, `cryptography` and `paho` only. Start with `pass_journal.py`, then `agent.py`; the protocol
is in
docs/sync-protocol.md.
"""
