"""The school's server: the ledger, the roster, consents, orders to the devices, purges and their receipts.

It never sees a hand and never drives a gate: facts come up signed, orders go down signed and sealed. Imports `canteen`
and `sync` only (and FastAPI, SQLAlchemy, Alembic). Start with `assembly.py`, then `ingest.py` (what happens to a batch)
and `orders.py` (what happens to an order).
"""
