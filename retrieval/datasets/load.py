"""Any of the known layouts of tagged clips, recognised by what lies in the folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from retrieval.datasets import csv_folder
from retrieval.datasets import tags663 as assignment
from retrieval.datasets.base import DatasetError, TaggedClips

__all__ = ["read_dataset"]


def read_dataset(
    place: str | os.PathLike[str],
    splits: Sequence[str] = (),
    *,
    drop_bad: bool = False,
    array_rate_hz: int | None = None,
    keep_unlabeled: bool = False,
) -> TaggedClips:
    """The clips of a dataset, or those of some of its splits.

    Args:
        place: a folder with labels.csv (:mod:`retrieval.datasets.csv_folder`), the table itself, or a folder with
            data_mapping.pkl (:mod:`retrieval.datasets.tags663`).
        splits: names of splits; none takes every clip.
        drop_bad: leave bad rows out, and say in `dropped` which, instead of refusing the dataset.
        array_rate_hz: the sample rate of clips that are .npy arrays.
        keep_unlabeled: return clips without labels instead of treating them as bad.

    Raises:
        DatasetError: the layout is not known, there are bad rows, or a split has no clips or no positives.
    """
    folder = Path(place)
    if folder.is_file() or (folder / csv_folder.TABLE).is_file():
        read = csv_folder.read_csv_dataset
    elif assignment.is_assignment(folder):
        read = assignment.read_assignment_dataset
    elif not folder.exists():
        raise DatasetError(f"there is nothing at {folder}: give a folder of tagged clips")
    else:
        raise DatasetError(
            f"{folder} is no dataset: it has neither {csv_folder.TABLE} (file,labels[,split]) nor {assignment.MAPPING}"
        )
    return read(folder, drop_bad=drop_bad, array_rate_hz=array_rate_hz, keep_unlabeled=keep_unlabeled).of_split(*splits)
