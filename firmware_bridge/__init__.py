"""Keypad, card readers, lamp and turnstile: the devices at the access point, over OSDP and PC/SC; the cards themselves.

May import `canteen`, `osdp`, `serial` and `smartcard`; never another specialist. Start with `devices.py` (the ports and
the events, in the domain's words), then `control_panel.py` (the one owner of the serial line) and `pcsc_reader.py` (the
card reader beside it); `card_reading.py` and `card_encoding.py` say what a card of the school is. The twins are
`simulated_peripheral.py` and `simulated_card.py`.
"""
