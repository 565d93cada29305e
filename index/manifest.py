"""The manifest: which encoder made an index, and the errors of an index that cannot be used.

The manifest is written last when an index is made, so its presence means that the index is there.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from index.files import printable, write_durably

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST_NAME",
    "IndexDamagedError",
    "IndexMismatchError",
    "IndexMissingError",
    "IndexReplacedError",
    "Manifest",
    "TrackDamagedError",
    "beyond_repair",
    "damaged",
    "read_manifest",
    "repair_command",
    "replaced",
    "write_manifest",
]

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 2

_METRIC = "inner_product"
_SINCE_VERSION_2 = {"segment_s", "hop_s"}
_MAX_MANIFEST_BYTES = 65536
_SHORT_FINGERPRINT_CHARACTERS = 12


class IndexMissingError(FileNotFoundError):
    """No index at a path; the message says how to make one."""


class IndexMismatchError(ValueError):
    """Another encoder or a newer format made the index; the message names both and says how to rebuild."""


class IndexDamagedError(ValueError):
    """A file of the index is missing, cut short or unreadable; the message names it and the fix.

    Attributes:
        reason: the fault alone.
    """

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class IndexReplacedError(RuntimeError):
    """Another index, or none, is now where an open one was; the message says what to do. The files may be sound."""


class TrackDamagedError(IndexDamagedError):
    """The stored vectors of one track have changed; the message names it and the fix. The others are usable."""


@dataclass(frozen=True)
class Manifest:
    """How the vectors of an index were made.

    Attributes:
        encoder: fingerprint (hexadecimal) of the model that made the vectors.
        encoder_name: its name, for people.
        dim: length of each vector.
        metric: how vectors are compared; "inner_product" is the only one.
        version: format of the index directory. 2 added the two fields below.
        segment_s: length of a segment in seconds; a short file is one shorter segment. None: not recorded.
        hop_s: seconds from the start of a segment to that of the next. None: not recorded.

    Raises:
        ValueError: a field has an invalid value.
    """

    encoder: str
    encoder_name: str
    dim: int
    metric: str = _METRIC
    version: int = FORMAT_VERSION
    segment_s: float | None = None
    hop_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("encoder", "encoder_name"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise ValueError(f"manifest: {name} must be a non-empty string, not {value!r}")
        if isinstance(self.dim, bool) or not isinstance(self.dim, int) or self.dim < 1:
            raise ValueError(f"manifest: dim must be a positive integer, not {self.dim!r}")
        if self.metric != _METRIC:
            raise ValueError(f"manifest: metric must be {_METRIC!r}, not {self.metric!r}")
        if isinstance(self.version, bool) or not isinstance(self.version, int) or self.version < 1:
            raise ValueError(f"manifest: version must be a positive integer, not {self.version!r}")
        for name in ("segment_s", "hop_s"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
                raise ValueError(f"manifest: {name} must be a positive number of seconds, not {value!r}")

    def require_encoder(self, encoder: str | None, *, path: Path) -> None:
        """Refuse an encoder that did not make this index; None accepts any.

        Raises:
            IndexMismatchError: the fingerprints differ.
        """
        if encoder is None or encoder == self.encoder:
            return
        raise IndexMismatchError(
            f"the index at {printable(path)} was made by model {_short(self.encoder)} ({self.encoder_name}), "
            f"not by model {_short(encoder)}: use the model that made it, or {_rebuild(path)}"
        )


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of the index at a folder.

    Raises:
        IndexMissingError: no index is there (a folder whose creation was cut short counts as none).
        IndexMismatchError: the index has a newer format.
        IndexDamagedError: the manifest is lost, unreadable or invalid.
    """
    path = folder / MANIFEST_NAME
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_MANIFEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        # Part files appear with the first track, long after the manifest: with them, a missing manifest was
        # lost.
        if any(folder.glob("vectors-*.f32")):
            raise beyond_repair(folder, f"{MANIFEST_NAME} is missing") from None
        raise IndexMissingError(
            f"no index at {printable(folder)}; make one with `retrieve index build DIR --index {printable(folder)}`"
        ) from None
    except IsADirectoryError:
        raise beyond_repair(folder, f"{MANIFEST_NAME} is a folder") from None
    try:
        if len(data) > _MAX_MANIFEST_BYTES:
            raise ValueError("too long")
        return _manifest_of(json.loads(data), folder=folder)
    except IndexMismatchError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else "invalid"
        raise beyond_repair(folder, f"{MANIFEST_NAME} cannot be read ({reason})") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, whole or not at all."""
    write_durably(folder / MANIFEST_NAME, (json.dumps(asdict(manifest), indent=2) + "\n").encode("ascii"))


def damaged(folder: Path, reason: str) -> IndexDamagedError:
    """Return the error for an index that `index.repair` can mend: where, what, and the fix, in one line."""
    message = f"the index at {printable(folder)} is damaged: {reason}; run `{repair_command(folder)}`"
    return IndexDamagedError(message, reason=reason)


def beyond_repair(folder: Path, reason: str) -> IndexDamagedError:
    """Return the error for an index that has lost what nothing else can tell: where, what, and the fix, in one line."""
    message = f"the index at {printable(folder)} is damaged: {reason}; {_rebuild(folder)}"
    return IndexDamagedError(message, reason=reason)


def replaced(folder: Path, reason: str = "") -> IndexReplacedError:
    """Return the error for an open index in whose place there is another one, or none: where, why, and the fix."""
    why = f" ({reason})" if reason else ""
    return IndexReplacedError(
        f"the index at {printable(folder)} was replaced or removed while it was in use{why}: open it again, "
        "or run the same command again"
    )


def _short(fingerprint: str) -> str:
    return fingerprint[:_SHORT_FINGERPRINT_CHARACTERS]


def repair_command(folder: Path) -> str:
    """Return the command that repairs an index, as one can paste it into a shell."""
    return f"retrieve index repair --index {shlex.quote(printable(folder))}"


def _rebuild(folder: Path) -> str:
    shown = shlex.quote(printable(folder))
    return f"remove {shown} and rebuild with `retrieve index build DIR --index {shown}`"


def _manifest_of(values: Any, *, folder: Path) -> Manifest:
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    version = values.get("version")
    # A newer format may have other fields, so its version is looked at before them.
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise IndexMismatchError(
            f"the index at {printable(folder)} has format {version} and this Earmark reads format "
            f"{FORMAT_VERSION}: upgrade Earmark, or {_rebuild(folder)}"
        )
    names = {field.name for field in fields(Manifest)} - (_SINCE_VERSION_2 if version == 1 else set())
    if set(values) != names:
        raise ValueError(f"fields {sorted(map(str, set(values) ^ names))} missing or unknown")
    return Manifest(**values)
