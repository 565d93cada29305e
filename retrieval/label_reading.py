"""How a tagger reads labels: which it scores, which it leaves out and why, and which it reads as another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["MOST_EXPLAINED", "LabelReading", "UnknownLabel"]

MOST_EXPLAINED = 10
"""Unknown labels for which reasons and near spellings are looked up, at a few milliseconds each."""


@dataclass(frozen=True)
class UnknownLabel:
    """Why a label cannot be scored.

    Attributes:
        reason: a sentence without its full stop; empty for labels past the first `MOST_EXPLAINED`.
        near: similar words, or tags of a closed set, nearest first.
    """

    reason: str = ""
    near: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelReading:
    """How a tagger reads labels.

    Attributes:
        names: the labels that are scored, in the spelling of the results.
        read_as: labels of `names` with misspelled words, and what they are read as.
        unknown: the labels that cannot be scored and are left out.
    """

    names: tuple[str, ...]
    read_as: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, UnknownLabel] = field(default_factory=dict)

    @property
    def texts(self) -> tuple[str, ...]:
        """What is scored for each of `names`."""
        return tuple(self.read_as.get(name, name) for name in self.names)

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON: read_as {label: text}, unknown {label: near spellings}, where not empty."""
        values: dict[str, object] = {}
        if self.read_as:
            values["read_as"] = dict(self.read_as)
        if self.unknown:
            values["unknown"] = {label: list(found.near) for label, found in self.unknown.items()}
        return values
