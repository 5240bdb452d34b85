"""The encrypted local store: references, code and card lookups, roster, leases; and how they are forgotten.

Imports `canteen`, SQLAlchemy over SQLCipher and `cryptography` only (a TPM's binding late, where one is asked for).
Start with `store.py` (the port), then `encrypted_store.py`. Each promise of SECURITY.md has its file: `sealing.py`,
`purge.py`, `epoch_keys.py` and `store_file.py` (nothing older opens), `change_mark.py` (nor is it taken back),
`lease.py` with `lease_keeping.py`, `key_source.py` with its siblings, `self_test.py`, `memory.py`, `reserve.py`
(a purge on a full disk), `migrations/`.
"""
