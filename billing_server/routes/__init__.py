"""The web routes: `machine` (the JSON interface under /api), `pages` and `actions` (what the staff sees and presses).

Each route opens one transaction, calls the desks, and writes the audit row in it. Start with `asking.py`.
"""
