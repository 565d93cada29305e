"""Bring the entries of cue sheets up to date: they change without anything being embedded."""

from __future__ import annotations

import os
from collections.abc import Callable

from index import Entry, Sheet, VectorIndex, printable
from retrieval.indexing.away import is_gone
from retrieval.library.cue import entries_of, match_name, parse_cue, read_cue
from retrieval.library.scan import AudioFile, Problem, Scan

__all__ = ["update_sheets"]


def update_sheets(
    found: Scan, index: VectorIndex, *, encoding: str | None, on_step: Callable[[], None]
) -> list[Problem]:
    """Read the cue sheets that are new or changed, or had a problem, and those in tags; forget those that are gone.

    Args:
        found: the scan.
        index: open for writing, with the tracks as they are now.
        encoding: of sheets that are not in Unicode; None: guess it.
        on_step: called for each sheet, and may raise.

    Returns:
        What is wrong with sheets, one problem a sheet.
    """
    problems = _update_embedded(index, on_step)
    known = {sheet.path: sheet for sheet in index.cue_sheets.sheets()}
    if not known and not found.sheets:
        return problems
    in_folder: dict[str, dict[str, float]] = {}
    for track in index.tracks():
        in_folder.setdefault(os.path.dirname(track.file), {})[track.file] = track.duration_s
    for file in found.sheets:
        on_step()
        before = known.pop(os.fsencode(file.path), None)
        is_same = before is not None and (before.size_bytes, before.mtime_ns) == (file.size_bytes, file.mtime_ns)
        if before is None or not is_same or before.problem is not None:
            sheet, entries = _read(file, in_folder.get(os.path.dirname(file.path), {}), encoding)
            index.cue_sheets.set_sheet(sheet, entries)
            if sheet.problem is not None:
                problems.append(Problem(file.path, sheet.problem))
    for path in known:
        if found.covers(os.fsdecode(path)) and is_gone(path):
            index.cue_sheets.remove_sheet(path)
    seen = {os.fsencode(file.path) for file in found.sheets}
    for path, divided, used in index.cue_sheets.unused():
        if path in seen:
            reason = f"cue sheet: not used for {printable(divided)}, which {printable(used)} divides"
            problems.append(Problem(os.fsdecode(path), reason))
    return problems


def _update_embedded(index: VectorIndex, on_step: Callable[[], None]) -> list[Problem]:
    problems = []
    for embedded in index.cue_sheets.embedded():
        on_step()
        sheet = parse_cue(embedded.text)
        entries: list[Entry] = []
        wrong = list(sheet.problems)
        if len(sheet.files) > 1:
            wrong.append("it names several files")
        elif sheet.files:
            entries, more = entries_of(sheet.files[0], sheet, duration_s=embedded.duration_s)
            wrong += more
        if tuple(entries) != embedded.entries:
            index.cue_sheets.set_embedded(embedded.path, entries)
        if wrong:
            problems.append(Problem(os.fsdecode(embedded.path), f"cue sheet in its tags: {_joined(wrong)}"))
    return problems


def _joined(problems: list[str]) -> str:
    return "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")


def _read(
    file: AudioFile, durations_s: dict[str, float], encoding: str | None
) -> tuple[Sheet, dict[bytes, list[Entry]]]:
    try:
        sheet = read_cue(file.path, encoding=encoding)
    except OSError as error:
        return Sheet(os.fsencode(file.path), file.size_bytes, file.mtime_ns, error.strerror or str(error)), {}
    problems = list(sheet.problems)
    entries: dict[bytes, list[Entry]] = {}
    for named in sheet.files:
        path = match_name(named.name, sheet=file.path, paths=list(durations_s), is_only=len(sheet.files) == 1)
        if path is None:
            problems.append(f"the index has no file {named.name[:200]!r} beside it")
            continue
        of_file, wrong = entries_of(named, sheet, duration_s=durations_s[path])
        problems += wrong
        if of_file:
            entries[os.fsencode(path)] = of_file
    problem = f"cue sheet: {_joined(problems)}" if problems else None
    return Sheet(os.fsencode(file.path), file.size_bytes, file.mtime_ns, problem), entries
