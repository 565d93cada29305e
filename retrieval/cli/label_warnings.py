"""Say which labels a model cannot score; for the commands that leave them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from retrieval.cli.output import print_warning, shortened

if TYPE_CHECKING:
    from retrieval.label_reading import UnknownLabel

__all__ = ["LABELS_SHOWN", "warn_of_unknown_labels"]

LABELS_SHOWN = 10
"""In warnings of one kind; the rest is counted."""


def warn_of_unknown_labels(unknown: Mapping[str, UnknownLabel], *, n_given: int) -> None:
    """Print one line for each of the first labels that are left out, and how many more there are of all."""
    for label, found in list(unknown.items())[:LABELS_SHOWN]:
        print_warning(f"label {shortened(label)!r}: {found.reason}: it is left out")
    n_more = len(unknown) - LABELS_SHOWN
    if n_more > 0:
        print_warning(
            f"{n_more} more labels are left out, {len(unknown)} of {n_given} in all: the model does not know them; "
            "--json names them"
        )
