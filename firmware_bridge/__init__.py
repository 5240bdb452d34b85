"""Keypad, card reader, lamp and turnstile: the devices at the access point, over OSDP on a serial line.

May import `canteen`, `osdp` and `serial`; never another specialist. Start with `devices.py` (the ports and the events,
in the domain's words), then `control_panel.py` (the one owner of the line); `simulated_peripheral.py` is the board's
twin.
"""
