"""From every format version that was ever landed to the present one; a vector of each is in `tests/vectors/store`.

May import the package's sealing and models. A step is frozen when the next format lands: start with `from_format_1.py`.
"""
