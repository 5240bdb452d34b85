"""What the domain refuses. Every class names one thing a caller can correct."""

from __future__ import annotations


class CanteenError(Exception):
    """The base of every error this project raises."""


class InvalidIdentifier(CanteenError, ValueError):
    """A pupil, device, school or pass identifier is not of its form."""


class InvalidPersonalCode(CanteenError, ValueError):
    """A personal code is not 3 to 8 digits with a valid check digit."""


class InvalidCardNumber(CanteenError, ValueError):
    """A card number is not 4 to 10 bytes."""


class InvalidServingPeriod(CanteenError, ValueError):
    """A serving period has no name, no day, or does not end after it starts."""


class InvalidEntitlement(CanteenError, ValueError):
    """An entitlement has no serving day, or ends before it begins."""


class InvalidConsent(CanteenError, ValueError):
    """A consent lacks its notice version, its giver or an aware instant."""
