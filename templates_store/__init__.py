"""The encrypted local store: references, code and card lookups, roster, leases; and how they are forgotten.

Imports `canteen`, SQLAlchemy over SQLCipher and `cryptography` only (a TPM's binding late, where one is asked for).
Start with `store.py` (the port), then `encrypted_store.py` (the consent gate is there). Each promise has its file:

    no record is moved, swapped or put back     sealing.py, pupil_keys.py
    the key is where a thief is not             key_source.py, systemd_credential.py, tpm.py, split_key.py
    a purge destroys, whole or not at all       purge.py, store_file.py
    nothing older opens                         epoch_keys.py, store_file.py
    nor is it taken back                        change_mark.py
    without contact it ends by itself           lease.py (the rules), lease_keeping.py (on disk, and the end)
    also on a full disk                         reserve.py
    the primitives give their known answers     self_test.py
    nothing is swapped out or dumped            memory.py
    every format that ever was opens            migrations/
"""
