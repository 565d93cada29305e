"""Read a data set of any known layout, recognised by the files in its folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from retrieval.datasets.base import DatasetError, TaggedClips
from retrieval.datasets.csv_folder import TABLE, read_csv_dataset
from retrieval.datasets.tags663 import MAPPING, is_tags663, read_tags663_dataset

__all__ = ["read_dataset"]


def read_dataset(
    place: str | os.PathLike[str],
    splits: Sequence[str] = (),
    *,
    drop_bad: bool = False,
    array_rate_hz: int | None = None,
    keep_unlabeled: bool = False,
) -> TaggedClips:
    """Read the clips of a data set, or those of some of its splits.

    Args:
        place: a folder with labels.csv (`retrieval.datasets.csv_folder`), the table itself, or a folder with
            data_mapping.pkl (`retrieval.datasets.tags663`).
        splits: names of splits; none returns all clips.
        drop_bad: leave bad rows out and list them in `dropped`, instead of raising an error.
        array_rate_hz: sample rate of clips that are .npy arrays.
        keep_unlabeled: return clips without labels instead of treating them as bad.

    Raises:
        DatasetError: the layout is unknown, there are bad rows, or a split has no clips or no labels.
    """
    folder = Path(place)
    if folder.is_file() or (folder / TABLE).is_file():
        read = read_csv_dataset
    elif is_tags663(folder):
        read = read_tags663_dataset
    elif not folder.exists():
        raise DatasetError(f"{folder} does not exist: give a folder of tagged clips")
    else:
        raise DatasetError(f"{folder} is not a data set: it has neither {TABLE} (file,labels[,split]) nor {MAPPING}")
    return read(folder, drop_bad=drop_bad, array_rate_hz=array_rate_hz, keep_unlabeled=keep_unlabeled).of_split(*splits)
