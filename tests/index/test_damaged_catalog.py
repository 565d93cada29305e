"""A damaged catalogue: found, mended as far as its records allow, and otherwise refused with advice that works."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from damage import overwrite
from index_helpers import MANIFEST, bytes_of, new_index, spans, toward, track, units

from index import IndexDamagedError, VectorIndex, mend_files

CATALOG = "catalog.sqlite3"
PAGE_BYTES = 4096
N_TRACKS = 60
QUERY = toward(1, 2, 3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "index"
    with new_index(folder, max_part_rows=100) as index:
        index.add_many([(track(f"t{i}"), spans(3), units(3, seed=i)) for i in range(N_TRACKS)])
        index.remove("t7")
        index.skip("bad", "no sound", 1, 1)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "index"))


def answers(folder: Path) -> list[tuple[str, float]]:
    with VectorIndex.open(folder) as index:
        return [(hit.track.file, hit.score) for hit in index.search(QUERY, top=100)]


def edit(*statements: str) -> Callable[[Path], None]:
    """Change the tables as a damaged page may."""

    def change(folder: Path) -> None:
        connection = sqlite3.connect(folder / CATALOG)
        with connection:
            connection.execute("PRAGMA writable_schema = ON")
            for statement in statements:
                connection.execute(statement)
        connection.close()

    return change


CONTRADICTIONS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "removed rows forgotten": (edit("DELETE FROM removed"), []),
    "rows removed that are not": (edit("INSERT INTO removed VALUES (0, 3)"), []),
    "a segment lost": (edit("DELETE FROM segments WHERE row = 4"), ["t1"]),
    "a segment without an end": (edit("UPDATE segments SET end_s = start_s WHERE row = 4"), ["t1"]),
    "segments of no track": (edit("INSERT INTO segments VALUES (100000, 777, 0, 1)"), []),
    "a track with the rows of another": (edit("UPDATE tracks SET first_row = 4 WHERE path = x'7435'"), ["t5"]),
    "a track in no part": (edit("UPDATE tracks SET first_row = 90000 WHERE path = x'7435'"), ["t5"]),
    "a checksum": (edit("UPDATE tracks SET checksum = 1 WHERE path = x'7435'"), []),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_records_that_contradict_each_other_are_taken_out_and_the_rest_is_kept(
    folder: Path, whole: Path, name: str
) -> None:
    damage, lost = CONTRADICTIONS[name]
    damage(folder)
    with VectorIndex.open(folder) as index:
        assert index.verify() != []
    done = mend_files(folder)
    if name == "a checksum":
        assert done == []  # as a track whose vectors have changed
        lost = ["t5"]
    else:
        assert done[0].startswith("catalog.sqlite3 was damaged: ")
        assert done[1:] == [f"{path}: its record was damaged; the next build adds the file again" for path in lost]
        with VectorIndex.open(folder) as index:
            assert index.verify() == []
    assert answers(folder) == [(path, score) for path, score in answers(whole) if path not in lost]
    with VectorIndex.open(folder, read_only=False) as index:
        for path in lost:
            index.add(track(path), spans(3), units(3, seed=int(path[1:])))
        index.compact()
        assert index.verify() == []
    assert answers(folder) == answers(whole)
    assert mend_files(folder) == []


def page_count(folder: Path) -> int:
    return (folder / CATALOG).stat().st_size // PAGE_BYTES


@pytest.mark.parametrize("how", ["zeros", "random bytes", "the page after it"])
def test_every_page_of_the_catalogue_may_be_damaged(folder: Path, whole: Path, how: str) -> None:
    """Each command answers exactly, or says what to do; what `repair` says it has mended is whole."""
    catalog, data, expected = folder / CATALOG, (whole / CATALOG).read_bytes(), answers(whole)
    n_mended = n_refused = 0
    for page in range(page_count(whole)):
        catalog.write_bytes(data)
        at = page * PAGE_BYTES
        other = data[at + PAGE_BYTES : at + 2 * PAGE_BYTES] or data[:PAGE_BYTES]
        news = {"zeros": bytes(PAGE_BYTES), "random bytes": random.Random(page).randbytes(PAGE_BYTES)}
        overwrite(catalog, at, news.get(how, other))
        try:
            with VectorIndex.open(folder) as index:
                problems = index.verify()
                hits = [(hit.track.file, hit.score) for hit in index.search(QUERY, top=100)]
            assert problems or hits == expected
        except IndexDamagedError as error:
            assert "\n" not in str(error) and f" {folder}" in str(error)
        try:
            mend_files(folder)
        except IndexDamagedError as error:
            fix = f"; remove {folder} and rebuild with `retrieve index build DIR --index {folder}`"
            assert str(error).endswith(fix) and "\n" not in str(error)
            n_refused += 1
            continue
        with VectorIndex.open(folder) as index:
            assert index.verify() == []
        assert set(answers(folder)) <= set(expected)
        n_mended += 1
    assert n_mended > 1 and n_refused > 1


def test_a_repair_that_cannot_be_done_alters_nothing(folder: Path) -> None:
    (folder / CATALOG).write_bytes(b"x" * 9000)
    before = bytes_of(folder)
    with pytest.raises(IndexDamagedError, match="not a database; remove"):
        mend_files(folder)
    after = bytes_of(folder)
    after.pop("writer.lock", None)
    before.pop("writer.lock", None)
    assert after == before


def test_a_journal_of_garbage_harms_nothing(folder: Path, whole: Path) -> None:
    (folder / f"{CATALOG}-journal").write_bytes(random.Random(1).randbytes(5000))
    assert answers(folder) == answers(whole)
    with VectorIndex.open(folder, encoder=MANIFEST.encoder, read_only=False) as index:
        index.add(track("more"), spans(1), units(1, seed=99))
        assert index.verify() == []
