"""Figures about the running system, as ratios to a floor measured in the same run: machines differ, ratios less so.

It stands on the top floor beside `demo`, which it does not import, and may import everything below; programs are run as
processes and looked at from outside, as a pupil and a kiosk see them. Nothing here is imported by a program. Start with
`main.py`, then `pass_benchmark.py` (what is measured, in order) and `lane.py` (how one pass is timed).
"""
