"""The 663-clip dataset of tagged music in its own layout.

A folder of clips, one file each (a sound file, or its waveform as a .npy array), beside three pickles:
`data_mapping.pkl` (dict: clip name -> list of tags), `Train_ids.pkl` and `val_ids.pkl` (lists of clip names, with or
without the files' suffixes). 560 clips train, 100 validate, 67 tags. Clips may lie in a folder below.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from retrieval.datasets.base import DatasetError, TaggedClip, TaggedClips, format_names
from retrieval.datasets.safe_pickle import UnsafePickleError, read_plain_pickle

__all__ = ["CITATION", "LICENCE", "MAPPING", "SPLITS", "is_assignment", "read_assignment_dataset", "validate"]

CITATION = "The tag-based retrieval assignment whose two methods this project grew from; it has no publication."
LICENCE = "Not stated: bring your own copy, and pass nothing of it on."
MAPPING = "data_mapping.pkl"
SPLITS = {"train": "Train_ids.pkl", "val": "val_ids.pkl"}

_SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".opus", ".aiff", ".au")
_SUFFIXES = (*_SOUND_SUFFIXES, ".npy")  # in order of preference: a sound file knows its own sample rate


def is_assignment(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder has this layout."""
    return (Path(folder) / MAPPING).is_file()


def read_assignment_dataset(
    folder: str | os.PathLike[str],
    *,
    drop_bad: bool = False,
    array_rate_hz: int | None = None,
    keep_unlabeled: bool = False,
) -> TaggedClips:
    """The clips of the dataset; those that neither list names have no split.

    Args:
        folder: where the three pickles and the clips are.
        drop_bad: leave bad clips out and say so in `dropped`, instead of refusing the dataset.
        array_rate_hz: the sample rate of clips that are .npy arrays.
        keep_unlabeled: return clips without labels instead of treating them as bad.

    Raises:
        DatasetError: a pickle is missing, damaged, not plain data or of another form; clips without file or tags; names
            in the lists that the mapping lacks or that both lists have.
    """
    place = Path(folder)
    clips, problems = _read(place, array_rate_hz=array_rate_hz, keep_unlabeled=keep_unlabeled)
    if problems and not drop_bad:
        raise DatasetError(f"{place}: {'; '.join(problems)}; mend them, or leave such clips out with --drop-bad")
    if not clips:
        raise DatasetError(f"{place}: no clip is usable ({'; '.join(problems) or MAPPING + ' is empty'})")
    return TaggedClips(clips=tuple(clips), name=place.resolve().name, dropped=tuple(problems))


def validate(folder: str | os.PathLike[str]) -> list[str]:
    """What is wrong with the pickles and the clips, one line each."""
    try:
        clips, problems = _read(Path(folder), array_rate_hz=None)
    except DatasetError as error:
        return [str(error)]
    return problems + TaggedClips(clips=tuple(clips), name=str(folder)).validate()


def _read(
    place: Path, *, array_rate_hz: int | None, keep_unlabeled: bool = False
) -> tuple[list[TaggedClip], list[str]]:
    """The good clips, and a line for each kind of bad ones."""
    labels_of = _mapping(place)
    split_of, at_odds = _split_of(place)
    files = _files(place)
    clips: list[TaggedClip] = []
    missing: list[str] = []
    empty: list[str] = []
    for name, labels in labels_of.items():
        path = _file_of(name, files)
        if path is None:
            missing.append(name)
        elif not labels and not keep_unlabeled:
            empty.append(name)
        else:
            split = split_of.get(_bare(name))
            rate_hz = array_rate_hz if path.suffix == ".npy" else None
            clips.append(TaggedClip(path, labels, split, _bare(name), rate_hz))
    known = {_bare(name) for name in labels_of}
    twice = _repeated(_bare(name) for name in labels_of)
    if twice:
        clips = _first_of_each(clips)
    told = [
        ("missing files", missing),
        ("clips without tags", empty),
        (f"clips twice in {MAPPING}", twice),
        (f"clips in a list that {MAPPING} lacks", [name for name in split_of if name not in known]),
        ("clips in both lists", at_odds),
    ]
    if at_odds:
        clips = [replace(clip, split=None) if clip.group in at_odds else clip for clip in clips]
    return clips, [f"{len(names)} {what}: {format_names(names)}" for what, names in told if names]


def _mapping(place: Path) -> dict[str, tuple[str, ...]]:
    value = _loaded(place / MAPPING)
    if not isinstance(value, dict):
        raise DatasetError(f"{place / MAPPING} holds a {type(value).__name__}; a dict of clip names to tags is needed")
    labels_of = {}
    for name, tags in value.items():
        listed = [tags] if isinstance(tags, str) else tags
        if not isinstance(name, str) or not isinstance(listed, (list, tuple, set)) or not all(map(_is_text, listed)):
            raise DatasetError(f"{place / MAPPING}: the entry {name!r} is not a clip's name with a list of tags")
        ordered = sorted(listed) if isinstance(listed, set) else listed
        tidy = (" ".join(tag.split()) for tag in ordered)
        labels_of[name] = tuple(dict.fromkeys(tag for tag in tidy if tag))
    return labels_of


def _split_of(place: Path) -> tuple[dict[str, str], list[str]]:
    """The split of each listed clip by its bare name, and the names that both lists have."""
    split_of: dict[str, str] = {}
    at_odds = []
    for split, file_name in SPLITS.items():
        value = _loaded(_whatever_case(place, file_name))
        if not isinstance(value, (list, tuple, set)) or not all(map(_is_text, value)):
            raise DatasetError(f"{place / file_name} does not hold a list of clip names")
        for name in map(_bare, value):
            if split_of.setdefault(name, split) != split:
                at_odds.append(name)
    return split_of, at_odds


def _loaded(path: Path) -> Any:
    try:
        return read_plain_pickle(path)
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing: the layout needs {', '.join((MAPPING, *SPLITS.values()))}") from None
    except UnsafePickleError as error:
        raise DatasetError(str(error)) from None


def _whatever_case(place: Path, name: str) -> Path:
    found = [path for path in place.iterdir() if path.name.lower() == name.lower()]
    return found[0] if found else place / name


def _files(place: Path) -> dict[str, Path]:
    """Sound files and arrays in the folder and the folders in it, by file name; the nearer one where two agree."""
    every = [*place.iterdir(), *sorted(place.glob("*/*"))]
    found: dict[str, Path] = {}
    for path in every:
        if path.suffix.lower() in _SUFFIXES and path.is_file():
            found.setdefault(path.name, path)
    return found


def _file_of(name: str, files: dict[str, Path]) -> Path | None:
    """The clip's file: the one format_names, else that of the same name with another suffix."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    candidates = (last, *(_bare(name) + suffix for suffix in _SUFFIXES))
    return next((files[candidate] for candidate in candidates if candidate in files), None)


def _bare(name: str) -> str:
    """A clip's name without folder and without a suffix of sound or array."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    stem, suffix = os.path.splitext(last)
    return stem if suffix.lower() in _SUFFIXES else last


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _repeated(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]


def _first_of_each(clips: Iterable[TaggedClip]) -> list[TaggedClip]:
    first: dict[str, TaggedClip] = {}
    for clip in clips:
        first.setdefault(clip.group, clip)
    return list(first.values())
