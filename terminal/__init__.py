"""The terminal at the lane: one state machine from key, card and hand to the turnstile, and the pupil's screen.

The process with the secrets and without a network: it talks to `canteen-sync` through two files only. May import
`canteen` and the four specialists; OpenCV enters behind `assembly.py`. Start with `pass_machine.py` (the table at its
end), then `actions.py` (what each action does) and `runner.py` (one queue, one thread).
"""
