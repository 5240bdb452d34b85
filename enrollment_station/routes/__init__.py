"""The addresses: `entrance` (the personal link), `pages` (for people), `machine` (for the pages' scripts and programs),
`cards` (the same, at the card reader).

No rule lives here: a route reads the request, asks a desk, and says the answer. Start with `machine.py`.
"""
