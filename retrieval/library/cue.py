"""Cue sheets beside albums in one file: which parts of the file are tracks, and what they are called."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from index import Entry
from retrieval.library.metadata import one_line
from retrieval.library.tag_encoding import decode_texts

__all__ = ["CueFile", "CueSheet", "CueTrack", "entries_of", "match_name", "parse_cue", "read_cue"]

_MOST_BYTES = 1 << 20
_MOST_TRACKS = 1000  # of a sheet; compact discs have 99
_FRAMES_PER_S = 75
_MOST_FILES = 1000
# Of a stripped line; each part ends where the next one must begin, so that no line takes more than linear time.
_LINE = re.compile(r'(\w+)\s*(?:"([^"]*)"?|(\S+))?(.*)')
_TIME = re.compile(r"(\d{1,5}):(\d{1,2}):(\d{1,2})")


@dataclass
class CueTrack:
    """A track of a sheet; `start_s` is its INDEX 01, None where there is none."""

    number: int
    title: str | None = None
    performer: str | None = None
    start_s: float | None = None


@dataclass
class CueFile:
    """A file that a sheet names, and its tracks in order."""

    name: str
    tracks: list[CueTrack] = field(default_factory=list)


@dataclass
class CueSheet:
    """What a sheet says; `problems` are its lines that say nothing, in words."""

    title: str | None = None
    performer: str | None = None
    files: list[CueFile] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_cue(path: str | os.PathLike[str], *, encoding: str | None = None) -> CueSheet:
    """Read a cue sheet.

    Args:
        path: of the sheet.
        encoding: of a sheet that is not in Unicode; None: guess it.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as raw:
        data = raw.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        return CueSheet(problems=[f"it is larger than {_MOST_BYTES >> 20} MB"])
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return parse_cue(data.decode("utf-16", "replace"))
    (text,) = decode_texts([data.removeprefix(codecs.BOM_UTF8)], encoding=encoding)
    return parse_cue(text)


def parse_cue(text: str) -> CueSheet:
    """Parse the text of a cue sheet; what is damaged is left out, and named in `problems`."""
    sheet = CueSheet()
    track: CueTrack | None = None
    n_tracks = 0
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is None:
            continue
        command, rest = match[1].upper(), match[4].strip()
        value = one_line(match[2] if match[2] is not None else " ".join(filter(None, (match[3], rest))))
        if command == "FILE":
            if len(sheet.files) == _MOST_FILES:
                sheet.problems.append(f"it names more than {_MOST_FILES} files")
                break
            sheet.files.append(CueFile(match[2] if match[2] is not None else _without_kind(f"{match[3] or ''} {rest}")))
        elif command == "TRACK":
            n_tracks += 1
            track = CueTrack(int(match[3]) if (match[3] or "").isdecimal() and len(match[3]) < 6 else n_tracks)
            if n_tracks > _MOST_TRACKS:
                sheet.problems.append(f"it has more than {_MOST_TRACKS} tracks")
                break
            if not sheet.files:
                sheet.problems.append(f"track {track.number} is in no file")
        elif command == "TITLE" and value:
            (track or sheet).title = value
        elif command == "PERFORMER" and value:
            (track or sheet).performer = value
        elif command == "INDEX" and match[3] in ("01", "1") and track is not None and sheet.files:
            track.start_s = _seconds(rest)
            if track.start_s is None:
                sheet.problems.append(f"the start of track {track.number} is no time")
            else:
                sheet.files[-1].tracks.append(track)  # of the file of INDEX 01: the gap before may be in another one
    if not sheet.files and not sheet.problems:
        sheet.problems.append("it names no file")
    return sheet


def entries_of(file: CueFile, sheet: CueSheet, *, duration_s: float) -> tuple[list[Entry], list[str]]:
    """Return the entries of a file by start, and what is wrong with its tracks.

    A file with a single track from its beginning is that track, and has no entries.

    Args:
        file: of the sheet.
        sheet: its title and performer are those of tracks that have none.
        duration_s: of the file.
    """
    problems: list[str] = []
    kept: list[tuple[float, CueTrack]] = []
    for track in file.tracks:
        start_s = track.start_s
        if start_s is None or start_s >= duration_s:
            problems.append(f"track {track.number} begins behind the end of the file")
        elif kept and start_s <= kept[-1][0]:
            problems.append(f"track {track.number} begins before the track in front of it ends")
        else:
            kept.append((start_s, track))
    if len(kept) < 2 and (not kept or kept[0][0] == 0.0):
        return [], problems
    ends = [*(start_s for start_s, _ in kept[1:]), duration_s]
    return [
        Entry(track.number, start_s, end_s, track.title, track.performer or sheet.performer, sheet.title)
        for (start_s, track), end_s in zip(kept, ends, strict=True)
    ], problems


def _seconds(text: str) -> float | None:
    match = _TIME.fullmatch(text)
    if match is None or int(match[2]) > 59 or int(match[3]) >= _FRAMES_PER_S:
        return None
    return 60 * int(match[1]) + int(match[2]) + int(match[3]) / _FRAMES_PER_S


def _without_kind(text: str) -> str:
    """Return a name without quotes, without the kind of file after it (WAVE, MP3 ...)."""
    words = text.strip().rsplit(None, 1)
    return words[0] if len(words) == 2 and re.fullmatch(r"\w+", words[1]) else text.strip()


def match_name(name: str, *, sheet: str, paths: Sequence[str], is_only: bool) -> str | None:
    """Return the one of `paths`, files in the folder of a sheet, that a sheet means by a name; None if there is none.

    Args:
        name: as the sheet has it; sheets keep the name of the image that was compressed later, and its old folder.
        sheet: path of the sheet.
        paths: of files in its folder.
        is_only: whether the sheet names no other file.
    """
    base = re.split(r"[/\\]", name)[-1].casefold()
    by_name = {os.path.basename(path).casefold(): path for path in paths}
    by_stem: dict[str, list[str]] = {}
    for path in paths:
        by_stem.setdefault(os.path.splitext(os.path.basename(path))[0].casefold(), []).append(path)
    if base in by_name:
        return by_name[base]
    stems = [os.path.splitext(base)[0]] + ([os.path.splitext(os.path.basename(sheet))[0].casefold()] if is_only else [])
    return next((by_stem[stem][0] for stem in stems if len(by_stem.get(stem, [])) == 1), None)
