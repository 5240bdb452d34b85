"""Which key source a setting names, so that a terminal and a station choose alike.

store.key                       a file of mode 0600
systemd:canteen-store-key       a credential of the unit
tpm:store.tpm                   sealed by the TPM; the blob lies in this file
split:store.key+systemd:NAME    two parts: the first on the card, the second the machine's
"""

from __future__ import annotations

from pathlib import Path

from templates_store.errors import KeyUnavailable
from templates_store.key_source import FileKeySource, KeySource
from templates_store.split_key import SplitKeySource
from templates_store.systemd_credential import DEFAULT_NAME, SystemdKeySource
from templates_store.tpm import Tpm, TpmKeySource


def chosen_key_source(setting: str, folder: Path, tpm: Tpm | None = None) -> KeySource:
    """The key source that `setting` names; relative paths count from `folder`.

    Raises:
        KeyUnavailable: it names none.
    """
    kind, colon, rest = setting.partition(":")
    match kind if colon else "file":
        case "file":
            return FileKeySource(_path(rest if colon else setting, folder))
        case "systemd":
            return SystemdKeySource(rest or DEFAULT_NAME)
        case "tpm":
            return TpmKeySource(_path(rest, folder), tpm or Tpm())
        case "split":
            first, plus, device = rest.partition("+")
            if not plus or device.startswith("split:") or first.startswith("split:"):
                raise KeyUnavailable("split: needs two parts with a + between them")
            return SplitKeySource(chosen_key_source(first, folder, tpm), chosen_key_source(device, folder, tpm))
        case _:
            raise KeyUnavailable(f"{kind}: is no key source; there are file, systemd, tpm and split")


def _path(text: str, folder: Path) -> Path:
    if not text:
        raise KeyUnavailable("a key source needs the name of its file")
    return folder / text
