"""Keys are separate, seals are bound to their place."""

from __future__ import annotations

import dataclasses

import pytest

from templates_store.errors import StoreUnavailable
from templates_store.sealing import (
    SealedKind,
    associated_data,
    code_bound,
    derive_keys,
    new_key,
    reference_bound,
    seal,
    unseal,
)


def test_every_purpose_has_its_own_key() -> None:
    """One key for two purposes would let one weaken the other; their derivation never changes."""
    keys = dataclasses.astuple(derive_keys(bytes(range(32))))
    assert len(keys) == len(set(keys))
    assert (
        "cf270a7ddeab3fca1eb58416026854c8445f023cd1606416099d795370d49a96"
        == derive_keys(bytes(range(32))).format_1_file.hex()
    )


def test_keys_are_not_shown() -> None:
    """A traceback or a log with the keys object in it tells nothing."""
    assert "StoreKeys()" == repr(derive_keys(bytes(32)))


def test_a_seal_opens_in_its_place_only() -> None:
    """Kind, pupil, revision and consent are bound; so is every byte."""
    key, bound = new_key(), reference_bound("p-1", 1, "v1", "adult-pupil", "2026")
    sealed = seal(key, b"hand", bound)
    assert b"hand" == unseal(key, sealed, bound)
    others = [
        code_bound("p-1"),
        reference_bound("p-2", 1, "v1", "adult-pupil", "2026"),
        reference_bound("p-1", 2, "v1", "adult-pupil", "2026"),
        reference_bound("p-1", 1, "v2", "adult-pupil", "2026"),
        associated_data(SealedKind.PUPIL_KEY, "p-1", 1),
    ]
    for other in others:
        with pytest.raises(StoreUnavailable):
            unseal(key, sealed, other)
    for at in range(len(sealed)):
        changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(StoreUnavailable):
            unseal(key, changed, bound)


@pytest.mark.parametrize("length", [0, 5, 12, 20])
def test_too_short_a_seal_is_a_named_error(length: int) -> None:
    """Truncated columns do not escape as a crypto library's exception."""
    with pytest.raises(StoreUnavailable):
        unseal(new_key(), bytes(length), b"")
