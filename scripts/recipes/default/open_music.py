"""Fetch a collection of openly licensed music: 1,300 tracks by many hands, as one pack with labels and credits.

python -m scripts.recipes.default.open_music --out DATA/audio/open_music
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from encoders.audio import AudioDecodeError
from scripts.recipes.default.open_music_audio import NoModulePlayerError, Written, write_vorbis
from scripts.recipes.default.open_music_sources import DEBIAN_MIRROR, GIT_BASE, FetchError, Source, extracted

__all__ = ["SOURCES", "TRACKS", "Track", "fetch_all", "is_open", "main", "read_list"]

TRACKS = Path(__file__).with_name("open_music.tsv")
SOURCES = Path(__file__).with_name("open_music_sources.tsv")
_MIX = "|"
"""Between the paths of stems that are mixed."""
_OPEN = re.compile(r"(CC0|CC BY|L?GPL|GFDL|MIT|BSD|Zlib|Free Art License|public domain)\b")
_CLOSED = re.compile(r"\b(NC|ND)\b|non-?commercial", re.IGNORECASE)
_LABELS = {
    "ambient": "ambient",
    "blues": "blues",
    "chiptune": "chiptune",
    "classical": "classical",
    "country / bluegrass": "country",
    "electronic / synth": "electronic",
    "folk / celtic / medieval": "folk",
    "funk / soul / disco": "funk",
    "hip hop": "hip hop",
    "jazz / swing": "jazz",
    "latin": "latin",
    "metal": "metal",
    "orchestral / soundtrack": "orchestral;soundtrack",
    "reggae / ska / dub": "reggae",
    "rock": "rock",
    "techno / house / trance": "electronic;dance",
    "world (asia, africa, middle east)": "world music",
}
"""Genre of the list -> labels that hold for all of it."""


@dataclass(frozen=True)
class Track:
    """A line of the list.

    Attributes:
        source: name of its source.
        path: its path there; several with `|` between them are stems to be mixed.
        licence: as stated for it, its folder or its package.
        artist: whom to credit; empty if nobody is named.
        title: its title, or empty.
        genre: one of `_LABELS`; empty where nobody says it.
        genre_from: where it is said: in the file's `tag`, in its `name`, or of the whole `source`.
        seconds: its duration when the list was made.
    """

    source: str
    path: str
    licence: str
    artist: str
    title: str
    genre: str
    genre_from: str
    seconds: float

    @property
    def file(self) -> str:
        """Where it is written, relative to the pack."""
        stem = re.sub(r"[^a-z0-9]+", "_", Path(self.path.split(_MIX)[0]).stem.lower()).strip("_")[:40]
        key = hashlib.sha256(f"{self.source}\0{self.path}".encode()).hexdigest()[:8]
        folder = re.sub(r"[^A-Za-z0-9.-]+", "_", self.source)
        return f"{folder}/{stem}-{key}.ogg"

    @property
    def credit(self) -> str:
        """One line that names title, artist, source and licence."""
        title = self.title or Path(self.path.split(_MIX)[0]).stem
        return f"{title} by {self.artist or 'the authors of ' + self.source.partition(':')[2]} ({self.licence})"

    @property
    def labels(self) -> str:
        """Its labels; empty where nobody says its genre."""
        return _LABELS.get(self.genre, "")


def is_open(licence: str) -> bool:
    """Return whether a licence allows any use, changes included. What is not known to be open is not."""
    return bool(_OPEN.match(licence)) and not _CLOSED.search(licence)


def read_list(tracks: Path = TRACKS, sources: Path = SOURCES) -> tuple[list[Track], dict[str, Source]]:
    """Return the tracks of the list, and the sources by name."""
    with tracks.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    with sources.open(encoding="utf-8", newline="") as file:
        by_name = {
            row["source"]: Source(row["source"], row["version"], row["address"], row["sha256"])
            for row in csv.DictReader(file, delimiter="\t")
        }
    return [Track(seconds=float(row.pop("seconds")), **row) for row in rows], by_name


class _Ledger:
    """What was written so far: a line for each track, appended when its file is complete."""

    def __init__(self, out: Path) -> None:
        self._path = out / "tracks.jsonl"
        self._out = out
        self.written: dict[str, Written] = {}
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.is_file() else []
        for line in lines:
            try:
                row = json.loads(line)
                name = row.pop("file")
                self.written[name] = Written(**row)
            except (ValueError, TypeError, KeyError):  # the last line of a run that was killed: that track is redone
                continue
        self._ends_in_line = not lines or self._path.read_bytes().endswith(b"\n")

    def has(self, track: Track) -> bool:
        return track.file in self.written and (self._out / track.file).is_file()

    def add(self, track: Track, written: Written) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(
                ("" if self._ends_in_line else "\n") + json.dumps({"file": track.file, **asdict(written)}) + "\n"
            )
        self._ends_in_line = True
        self.written[track.file] = written


def fetch_all(
    tracks: Sequence[Track],
    sources: dict[str, Source],
    out: Path,
    *,
    debian_mirror: str = DEBIAN_MIRROR,
    git_base: str = GIT_BASE,
    keep_sources: bool = False,
) -> dict[str, object]:
    """Fetch, convert and list tracks. What an earlier run wrote to `out` is kept.

    Args:
        tracks: the list.
        sources: their sources by name.
        out: the pack's folder: audio, labels.csv, credits.tsv, missing.tsv and tracks.jsonl.
        debian_mirror: address or folder of a Debian mirror.
        git_base: address or folder with OWNER/NAME below it.
        keep_sources: leave packages and repositories in `out`/sources.

    Returns:
        Figures of the pack: tracks, hours, artists, licences, what is missing and what was left out.
    """
    out.mkdir(parents=True, exist_ok=True)
    ledger = _Ledger(out)
    missing: dict[Track, str] = {}
    allowed = [track for track in tracks if is_open(track.licence)]
    by_source: dict[str, list[Track]] = {}
    for track in allowed:
        by_source.setdefault(track.source, []).append(track)
    began, n_done = time.monotonic(), 0
    try:
        for i, (name, members) in enumerate(by_source.items(), 1):
            wanted = [track for track in members if not ledger.has(track)]
            if wanted:
                print(f"[{i}/{len(by_source)}] {name}: {len(wanted)} tracks ...", file=sys.stderr, flush=True)
                folder = out / "sources" / re.sub(r"[^A-Za-z0-9.-]+", "_", name)
                paths = list(dict.fromkeys(path for track in wanted for path in track.path.split(_MIX)))
                try:
                    with extracted(
                        sources[name],
                        paths,
                        folder,
                        debian_mirror=debian_mirror,
                        git_base=git_base,
                        keep=keep_sources,
                    ) as files:
                        missing |= _convert(wanted, files, out, ledger)
                except FetchError as error:
                    print(str(error), file=sys.stderr)
                    missing |= {track: "its source cannot be fetched" for track in wanted if not ledger.has(track)}
            n_done += len(members)
            print(
                f"[{i}/{len(by_source)}] {name}: {n_done} of {len(allowed)} tracks, {len(missing)} missing, "
                f"{(time.monotonic() - began) / 60:.0f} min",
                file=sys.stderr,
                flush=True,
            )
    finally:
        figures = _write_tables(tracks, sources, out, ledger, missing)
    return figures


def _convert(
    wanted: Iterable[Track], files: dict[str, Path | FetchError], out: Path, ledger: _Ledger
) -> dict[Track, str]:
    """Write the tracks of one source; return those that failed, with the reason."""
    failed: dict[Track, str] = {}
    for track in wanted:
        stems: list[Path] = []
        for path in track.path.split(_MIX):
            found = files[path]
            if isinstance(found, FetchError):
                failed[track] = str(found)
            else:
                stems.append(found)
        if track in failed:
            continue
        try:
            ledger.add(track, write_vorbis(stems, out / track.file))
        except AudioDecodeError as error:
            failed[track] = "silent" if error.reason == "silent" else f"cannot be decoded: {error.reason}"
        except NoModulePlayerError as error:
            failed[track] = str(error)
    return failed


def _groups(tracks: Iterable[Track]) -> dict[Track, str]:
    """Return the group of each track: tracks that share an artist, however they are joined, are one group.

    Where nobody is named, the source is the group.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            name = parent[name]
        return name

    names_of = {}
    for track in tracks:
        names = [name.strip() for name in track.artist.removesuffix(" and others").split(";")]
        names_of[track] = [name for name in names if name not in ("", "others")] or [track.source]
        first, *others = sorted(root(name) for name in names_of[track])
        for other in others:
            parent[other] = first
    return {track: root(names[0]) for track, names in names_of.items()}


def _write_tables(
    tracks: Sequence[Track], sources: dict[str, Source], out: Path, ledger: _Ledger, missing: dict[Track, str]
) -> dict[str, object]:
    """Write the tables of the pack and return its figures."""
    left_out = {track: f"licence: {track.licence}" for track in tracks if not is_open(track.licence)}
    there = [track for track in tracks if track not in left_out and ledger.has(track)]
    first_of: dict[str, Track] = {}
    # Of two copies the one with a label stays, else the one with an artist, else the first of the list.
    for track in sorted(there, key=lambda track: (not track.labels, not track.artist)):
        first_of.setdefault(ledger.written[track.file].sha256, track)
    kept = [track for track in there if first_of[ledger.written[track.file].sha256] is track]
    groups = _groups(there)
    columns = ["file", "labels", "licence", "source", "artist", "title", "credit", "group", "seconds", "rate_hz"]
    rows = []
    for track in kept:
        written = ledger.written[track.file]
        words = [track.file, track.labels, track.licence, track.source, track.artist, track.title, track.credit]
        rows.append([*words, groups[track], f"{written.seconds:.1f}", str(written.rate_hz)])
    _write_table(out / "labels.csv", columns, rows, ",")
    credits: dict[tuple[str, str, str], list[str]] = {}
    for track in kept:
        credits.setdefault((track.artist, track.source, track.licence), []).append(
            track.title or Path(track.path.split(_MIX)[0]).stem
        )
    credit_rows = [
        [artist, source, licence, sources[source].url, str(len(titles)), "; ".join(titles)]
        for (artist, source, licence), titles in sorted(credits.items())
    ]
    _write_table(out / "credits.tsv", ["artist", "source", "licence", "address", "tracks", "titles"], credit_rows, "\t")
    duplicates = {
        track: f"same sound as {first_of[ledger.written[track.file].sha256].file}"
        for track in there
        if track not in kept
    }
    for track in tracks:
        if track not in left_out and not ledger.has(track):
            missing.setdefault(track, "not tried yet")
    reasons = {**missing, **left_out, **duplicates}
    _write_table(
        out / "missing.tsv",
        ["source", "path", "reason"],
        [[track.source, track.path, reason] for track, reason in reasons.items()],
        "\t",
    )
    all_written = [ledger.written[track.file] for track in kept]
    return {
        "tracks": len(kept),
        "hours": round(sum(w.seconds for w in all_written) / 3600, 2),
        "gigabytes": round(sum((out / track.file).stat().st_size for track in kept) / 1e9, 2),
        "labeled": sum(bool(track.labels) for track in kept),
        "artists": len({track.artist for track in kept if track.artist}),
        "groups": len({groups[track] for track in kept}),
        "missing": dict(Counter(missing.values()).most_common()),
        "left_out": dict(Counter(left_out.values()).most_common()),
        "duplicates": len(duplicates),
        "decoded_in_part": sum(bool(w.damage) for w in all_written),
        "below_32_khz": sum(w.rate_hz < 32_000 for w in all_written),
        "licences": dict(Counter(track.licence for track in kept).most_common()),
    }


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], delimiter: str) -> None:
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    os.replace(part, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 1 if there is no track at all, 130 if it was interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.recipes.default.open_music",
        description="Fetch openly licensed music as a pack of the default model's training data.",
    )
    parser.add_argument("--out", type=Path, required=True, help="the pack's folder, such as DATA/audio/open_music")
    parser.add_argument("--debian-mirror", default=DEBIAN_MIRROR, metavar="URL", help="or a folder (%(default)s)")
    parser.add_argument("--git-base", default=GIT_BASE, metavar="URL", help="or a folder (%(default)s)")
    parser.add_argument("--keep-sources", action="store_true", help="keep what was downloaded in OUT/sources")
    parser.add_argument("--list", type=Path, default=TRACKS, help="tracks (%(default)s)")
    parser.add_argument("--source-list", type=Path, default=SOURCES, help="sources (%(default)s)")
    options = parser.parse_args(arguments)
    tracks, sources = read_list(options.list, options.source_list)
    try:
        figures = fetch_all(
            tracks,
            sources,
            options.out,
            debian_mirror=options.debian_mirror,
            git_base=options.git_base,
            keep_sources=options.keep_sources,
        )
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    print(json.dumps(figures, ensure_ascii=False))
    return 0 if figures["tracks"] else 1


if __name__ == "__main__":
    sys.exit(main())
