"""The enrolment station: consents, hands and cards, on one page at the intendance; it holds the master store.

A pupil's hand is measured here and nowhere else kept; what leaves is sealed for one terminal each. Talks to nobody over
the network itself: facts go into its journal, orders come from its order box. Imports `canteen`, `hand_geometry`,
`templates_store`, `firmware_bridge` (card reader), `sync`, FastAPI and Jinja2. Start with `assembly.py`, then
`enrollment.py` for hands and `encoding.py` for cards.
"""
