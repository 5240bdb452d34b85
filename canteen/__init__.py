"""The domain: pupils, codes and cards, serving periods, entitlements, the access decision, the facts of a meal pass.

Standard library only, no I/O, no clock reads outside `clock.SystemClock`; imports nothing of this project. Start with
`access_decision.py`, then `meal_pass.py`.
"""
