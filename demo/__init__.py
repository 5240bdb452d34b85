"""The whole canteen on one machine: real broker, real processes, simulated devices, and a page to play with them.

The top floor: may import everything. Start with `main.py`, then `canteen.py` (what is started) and `story.py` (the
script of `--once`).
"""
