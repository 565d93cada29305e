"""One file that several names lead to is one track, whichever build finds which name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ingest_helpers import Model, counts, paths_in, song, vectors_in

from index import VectorIndex
from retrieval.indexing.build import build
from retrieval.indexing.types import BuildSummary
from retrieval.library.scan import scan


def rebuild(*roots: Path, place: Path) -> BuildSummary:
    return build(roots, index_path=place, model=Model())


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A folder of two songs; beside it a link to it, and a folder with a link and a hard link to the first."""
    folder = tmp_path / "real"
    first = song(folder / "a.wav", seed=1)
    song(folder / "b.wav", seed=2)
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "by link.wav").symlink_to(first)
    (tmp_path / "hard").mkdir()
    os.link(first, tmp_path / "hard" / "c.wav")
    return folder


BUILDS: list[tuple[Sequence[Sequence[str]], list[dict[str, int]], list[str]]] = [
    # roots of each build, what each counts, the paths in the end
    ([["real", "link"]], [{"added": 2}], ["real/a.wav", "real/b.wav"]),
    ([["link", "real"]], [{"added": 2}], ["real/a.wav", "real/b.wav"]),
    ([["link"], ["real"], ["link"]], [{"added": 2}, {"moved": 2}, {"unchanged": 2}], ["real/a.wav", "real/b.wav"]),
    ([["real"], ["link"], ["real"]], [{"added": 2}, {"unchanged": 2}, {"unchanged": 2}], ["real/a.wav", "real/b.wav"]),
    ([["links"], ["real"]], [{"added": 1}, {"added": 1, "moved": 1}], ["real/a.wav", "real/b.wav"]),
    ([["real"], ["links"]], [{"added": 2}, {"unchanged": 1}], ["real/a.wav", "real/b.wav"]),
    ([["real", "links/by link.wav"]], [{"added": 2}], ["real/a.wav", "real/b.wav"]),
    ([["links/by link.wav"], ["real/a.wav"]], [{"added": 1}, {"moved": 1}], ["real/a.wav"]),
    ([["hard", "real"]], [{"added": 2}], ["hard/c.wav", "real/b.wav"]),
    (
        [["real"], ["hard"], ["hard", "real"]],
        [{"added": 2}, {"unchanged": 1}, {"unchanged": 2}],
        ["real/a.wav", "real/b.wav"],
    ),
    ([["."]], [{"added": 2}], ["hard/c.wav", "real/b.wav"]),
]


@pytest.mark.parametrize(("roots", "counted", "paths"), BUILDS)
def test_every_way_to_a_file_is_one_track(
    real: Path, place: Path, roots: Sequence[Sequence[str]], counted: list[dict[str, int]], paths: list[str]
) -> None:
    home = real.parent
    found = [counts(rebuild(*(home / name for name in some), place=place)) for some in roots]
    assert (found, paths_in(place)) == (counted, [str(home / path) for path in paths])
    found = [counts(rebuild(*(home / name for name in roots[-1]), place=place))]  # and it stays so
    assert found[0].keys() == {"unchanged"}
    assert paths_in(place) == [str(home / path) for path in paths]


def test_a_second_mount_of_a_folder_is_not_a_second_library(
    real: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where neither path leads over a link, as with a bind mount, the track keeps the name that it has."""
    monkeypatch.setattr(os.path, "realpath", lambda path, **_: path)
    assert counts(rebuild(real, place=place)) == {"added": 2}
    assert counts(rebuild(real.parent / "link", place=place)) == {"unchanged": 2}
    assert counts(rebuild(real.parent / "link", real, place=place)) == {"unchanged": 2}
    assert paths_in(place) == [str(real / "a.wav"), str(real / "b.wav")]


@pytest.mark.parametrize("first", ["link", "real"])
def test_a_change_that_is_seen_under_the_other_name_is_an_update(real: Path, place: Path, first: str) -> None:
    second = "real" if first == "link" else "link"
    rebuild(real.parent / first, place=place)
    song(real / "a.wav", duration_s=12.0, seed=5)
    assert counts(rebuild(real.parent / second, place=place)) == {
        "updated": 1,
        "unchanged" if first == "real" else "moved": 1,
    }
    assert paths_in(place) == [str(real / "a.wav"), str(real / "b.wav")]
    assert len(vectors_in(place, real / "a.wav")) == 2


def test_a_name_that_goes_leaves_the_file_to_the_other(real: Path, place: Path) -> None:
    home = real.parent
    rebuild(real, place=place)
    vectors = vectors_in(place, real / "a.wav")
    (real / "a.wav").unlink()
    assert counts(rebuild(real, home / "hard", place=place)) == {"unchanged": 1, "moved": 1}
    np.testing.assert_array_equal(vectors_in(place, home / "hard" / "c.wav"), vectors)


def test_two_tracks_of_one_file_become_one(real: Path, place: Path) -> None:
    """An index of an older version may hold both."""
    rebuild(real, place=place)
    with VectorIndex.open(place, read_only=False) as index:
        track = index.track(real / "a.wav")
        assert track is not None
        copy = type(track)(**{**vars(track), "path": os.fsencode(real.parent / "hard" / "c.wav")})
        spans = np.array([(segment.start_s, segment.end_s) for segment in index.segments(track.path)])
        index.add(copy, spans, index.vectors(track.path))
    assert len(paths_in(place)) == 3
    assert counts(rebuild(real.parent, place=place)) == {"unchanged": 2, "removed": 1}
    assert len(paths_in(place)) == 2


def test_copies_are_tracks_of_their_own(real: Path, place: Path) -> None:
    content = (real / "a.wav").read_bytes()
    status = (real / "a.wav").stat()
    copy = real.parent / "copies" / "a.wav"
    copy.parent.mkdir()
    copy.write_bytes(content)
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    rebuild(real, place=place)
    assert counts(rebuild(copy.parent, place=place)) == {"added": 1}
    assert len(paths_in(place)) == 3


def test_second_names_are_counted(real: Path) -> None:
    assert scan([real.parent]).passed_over.lines() == ["2 passed over: 2 that another name leads to"]
