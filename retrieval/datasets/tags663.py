"""Read the 663-clip data set of tagged music in its own layout.

A folder of clips, one file each (an audio file, or a waveform as a .npy array), has three pickles beside them:
`data_mapping.pkl` (dict: clip name -> list of tags), `Train_ids.pkl` and `val_ids.pkl` (lists of clip names, with or
without file suffixes). It has 560 training clips, 100 validation clips and 67 tags. The clips may be in a subfolder.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from retrieval.datasets.base import DatasetError, TaggedClip, TaggedClips, format_names
from retrieval.datasets.safe_pickle import UnsafePickleError, read_plain_pickle

__all__ = ["MAPPING", "is_tags663", "read_tags663_dataset"]

MAPPING = "data_mapping.pkl"
_SPLIT_FILES = {"train": "Train_ids.pkl", "val": "val_ids.pkl"}

_AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".opus", ".aiff", ".au")
_SUFFIXES = (*_AUDIO_SUFFIXES, ".npy")  # in order of preference: an audio file states its sample rate


def is_tags663(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder has this layout."""
    return (Path(folder) / MAPPING).is_file()


def read_tags663_dataset(
    folder: str | os.PathLike[str],
    *,
    drop_bad: bool = False,
    array_rate_hz: int | None = None,
    keep_unlabeled: bool = False,
) -> TaggedClips:
    """Read the clips of the data set. A clip that is in neither list has no split.

    Args:
        folder: folder of the three pickles and the clips.
        drop_bad: leave bad clips out and list them in `dropped`, instead of raising an error.
        array_rate_hz: sample rate of clips that are .npy arrays.
        keep_unlabeled: return clips without labels instead of treating them as bad.

    Raises:
        DatasetError: a pickle is missing, damaged or does not have the stated form; clips have no file or no tags; a
            list has names that the mapping lacks, or that the other list has too.
    """
    place = Path(folder)
    clips, problems = _read(place, array_rate_hz=array_rate_hz, keep_unlabeled=keep_unlabeled)
    if problems and not drop_bad:
        raise DatasetError(f"{place}: {'; '.join(problems)}; correct them, or leave these clips out with --drop-bad")
    if not clips:
        raise DatasetError(f"{place}: it has no usable clip ({'; '.join(problems) or MAPPING + ' is empty'})")
    return TaggedClips(clips=tuple(clips), name=place.resolve().name, dropped=tuple(problems))


def _read(
    place: Path, *, array_rate_hz: int | None, keep_unlabeled: bool = False
) -> tuple[list[TaggedClip], list[str]]:
    """Return the good clips, and one line for each kind of bad clip."""
    labels_of = _mapping(place)
    split_of, in_both = _split_of(place)
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
    found = [
        ("missing files", missing),
        ("clips without tags", empty),
        (f"clips twice in {MAPPING}", twice),
        (f"clips in a list that {MAPPING} lacks", [name for name in split_of if name not in known]),
        ("clips in both lists", in_both),
    ]
    if in_both:
        clips = [replace(clip, split=None) if clip.group in in_both else clip for clip in clips]
    return clips, [f"{len(names)} {what}: {format_names(names)}" for what, names in found if names]


def _mapping(place: Path) -> dict[str, tuple[str, ...]]:
    value = _loaded(place / MAPPING)
    if not isinstance(value, dict):
        raise DatasetError(f"{place / MAPPING} holds a {type(value).__name__}: it must be a dict of clip names to tags")
    labels_of = {}
    for name, tags in value.items():
        listed = [tags] if isinstance(tags, str) else tags
        if not isinstance(name, str) or not isinstance(listed, (list, tuple, set)) or not all(map(_is_text, listed)):
            raise DatasetError(f"{place / MAPPING}: the entry {name!r} is not a clip name with a list of tags")
        ordered = sorted(listed) if isinstance(listed, set) else listed
        tidy = (" ".join(tag.split()) for tag in ordered)
        labels_of[name] = tuple(dict.fromkeys(tag for tag in tidy if tag))
    return labels_of


def _split_of(place: Path) -> tuple[dict[str, str], list[str]]:
    """Return the split of each listed clip by its bare name, and the names that are in both lists."""
    split_of: dict[str, str] = {}
    in_both = []
    for split, file_name in _SPLIT_FILES.items():
        value = _loaded(_ignoring_case(place, file_name))
        if not isinstance(value, (list, tuple, set)) or not all(map(_is_text, value)):
            raise DatasetError(f"{place / file_name} does not hold a list of clip names")
        for name in map(_bare, value):
            if split_of.setdefault(name, split) != split:
                in_both.append(name)
    return split_of, in_both


def _loaded(path: Path) -> Any:
    try:
        return read_plain_pickle(path)
    except FileNotFoundError:
        needed = ", ".join((MAPPING, *_SPLIT_FILES.values()))
        raise DatasetError(f"{path} is missing: the layout needs {needed}") from None
    except UnsafePickleError as error:
        raise DatasetError(str(error)) from None


def _ignoring_case(place: Path, name: str) -> Path:
    found = [path for path in place.iterdir() if path.name.lower() == name.lower()]
    return found[0] if found else place / name


def _files(place: Path) -> dict[str, Path]:
    """Return audio files and arrays in the folder and its subfolders by file name; the folder's own come first."""
    every = [*place.iterdir(), *sorted(place.glob("*/*"))]
    found: dict[str, Path] = {}
    for path in every:
        if path.suffix.lower() in _SUFFIXES and path.is_file():
            found.setdefault(path.name, path)
    return found


def _file_of(name: str, files: dict[str, Path]) -> Path | None:
    """Return the file of a clip: the file of its name, or of its name with another suffix; None: it has none."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    candidates = (last, *(_bare(name) + suffix for suffix in _SUFFIXES))
    return next((files[candidate] for candidate in candidates if candidate in files), None)


def _bare(name: str) -> str:
    """Return a clip name without folder and without the suffix of an audio file or array."""
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
