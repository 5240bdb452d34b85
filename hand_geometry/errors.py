"""What can be broken here; a hand that cannot be measured is no error but a value (see ``quality``)."""

from __future__ import annotations


class HandGeometryError(Exception):
    """Root of what this package raises."""


class SimulatedDeviceInProductionError(HandGeometryError):
    """A simulated or recorded device was asked for on a terminal in service."""


class CameraUnavailableError(HandGeometryError):
    """The camera could not be opened at all."""


class ReferenceFormatError(HandGeometryError):
    """Stored bytes are not a reference that this version can read."""


class FittedNumbersError(HandGeometryError):
    """The numbers shipped with the package are missing or do not fit the measurements."""


class UnlikeReadersError(HandGeometryError):
    """Reference and probe were not measured alike: one in mm on a calibrated reader, the other in px."""


class TrialsError(HandGeometryError):
    """A file of trials or an index of images cannot be used."""


class CalibrationFormatError(HandGeometryError):
    """Bytes are not a calibration, or of a version this program does not know: look at the sheet again."""
