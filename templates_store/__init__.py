"""The encrypted local store: references, code and card lookups, roster, leases; and how they are forgotten.

Imports `canteen` and SQLAlchemy over SQLCipher only. Start with `store.py` (the port), then `encrypted_store.py`.
"""
