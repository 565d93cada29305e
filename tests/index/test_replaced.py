"""An index that is replaced while it is in use: answers are of the old one or of the new one, never of both."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from damage import PART
from index_helpers import DIM, MANIFEST, bytes_of, new_index, spans, toward, track, units

from index import IndexMissingError, IndexReplacedError, Manifest, VectorIndex

HERE = Path(__file__).parent
N_SWAPS = 20
QUERY = toward(3, 2, 1)
Answer = list[tuple[str, float]]


def make(folder: Path, *, seed: int, n_tracks: int = 40) -> None:
    """An index with tracks of the same names for every seed, in several parts."""
    with VectorIndex.create(folder, MANIFEST, max_part_rows=30) as index:
        index.add_many([(track(f"t{i}"), spans(3), units(3, seed=1000 * seed + i)) for i in range(n_tracks)])
        index.add(track("last"), spans(1), units(1, seed=1000 * seed + 999))


def answer_of(index: VectorIndex) -> Answer:
    return [(hit.track.file, hit.score) for hit in index.search(QUERY, top=100)]


def answer_at(folder: Path) -> Answer:
    with VectorIndex.open(folder) as index:
        return answer_of(index)


def by_renaming(place: Path, number: int) -> None:
    place.rename(place.with_name("old"))
    place.with_name(f"new {number % 2}").rename(place)
    place.with_name("old").rename(place.with_name(f"new {(number + 1) % 2}"))


def by_removing(place: Path, number: int) -> None:
    shutil.rmtree(place)
    make(place, seed=number % 2)


def by_copying(place: Path, number: int) -> None:
    shutil.rmtree(place)
    shutil.copytree(place.with_name(f"new {number % 2}"), place)


def by_a_link(place: Path, number: int) -> None:
    link = place.with_name("link")
    link.symlink_to(f"new {number % 2}")
    os.replace(link, place)


SWAPS: dict[str, Callable[[Path, int], None]] = {
    "folders renamed": by_renaming,
    "removed and built again": by_removing,
    "removed and copied": by_copying,
    "a link changed": by_a_link,
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    make(tmp_path / "new 0", seed=0)
    make(tmp_path / "new 1", seed=1)
    return tmp_path / "index"


def start(place: Path, how: str) -> None:
    """Put index 1 at the place."""
    if how == "a link changed":
        place.symlink_to("new 1")
    elif how == "folders renamed":
        place.with_name("new 1").rename(place)
    else:
        shutil.copytree(place.with_name("new 1"), place)


@pytest.mark.parametrize("how", SWAPS)
def test_readers_in_threads_and_new_ones_answer_from_the_old_or_the_new(
    place: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # These threads compete for one interpreter, so that removing a folder takes longer than on a loaded machine.
    monkeypatch.setattr("index.store._SETTLED_S", 0.5)
    monkeypatch.setattr("index.store._REPLACED_WITHIN_S", 5.0)
    answers = [answer_at(place.with_name(f"new {number}")) for number in range(2)]
    assert answers[0] != answers[1]
    start(place, how)
    found: list[Answer] = []
    errors: list[BaseException] = []
    is_over = threading.Event()

    def repeat(ask: Callable[[], Answer], *expected: type[BaseException]) -> None:
        while not is_over.is_set():
            try:
                found.append(ask())
            except expected:
                time.sleep(0.001)
            except BaseException as error:  # all of them are wrong
                errors.append(error)

    with VectorIndex.open(place) as reader:
        threads = [
            threading.Thread(target=repeat, args=(lambda: answer_of(reader), IndexReplacedError)),
            threading.Thread(target=repeat, args=(lambda: answer_of(reader), IndexReplacedError)),
            threading.Thread(target=repeat, args=(lambda: answer_at(place), IndexReplacedError, IndexMissingError)),
        ]
        for thread in threads:
            thread.start()
        for number in range(N_SWAPS):
            SWAPS[how](place, number)
            n_found, until_s = len(found), time.monotonic() + 5.0
            while len(found) < n_found + 3 and time.monotonic() < until_s:
                time.sleep(0.005)
        last = answers[(N_SWAPS - 1) % 2]
        assert answer_of(reader) == last
        assert reader.verify() == [] and reader.damaged_tracks == []
        is_over.set()
        for thread in threads:
            thread.join()
    assert errors == []
    partly = [] if how != "removed and built again" else [[], answers[0], answers[1]]
    for answer in found:  # an index that is being built has a part of its tracks
        assert answer in answers or any(set(answer) <= set(whole) for whole in partly), answer
    assert sum(answer in answers for answer in found) > N_SWAPS and all(answer in found for answer in answers)


READER = """
import sys
sys.path.insert(0, sys.argv[2])
from test_replaced import answer_of
from index import IndexReplacedError, VectorIndex
with VectorIndex.open(sys.argv[1]) as reader:
    print("open", flush=True)
    while True:
        try:
            print(answer_of(reader), flush=True)
        except IndexReplacedError:
            print("replaced", flush=True)
"""


def test_a_reader_in_a_process_of_its_own(place: Path) -> None:
    answers = [str(answer_at(place.with_name(f"new {number}"))) for number in range(2)]
    start(place, "folders renamed")
    command = [sys.executable, "-c", READER, str(place), str(HERE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None and reader.stderr is not None
        assert reader.stdout.readline() == "open\n"
        lines: Iterator[str] = iter(reader.stdout)
        seen = []
        for number in range(N_SWAPS):
            by_renaming(place, number)
            while (line := next(lines).strip()) != answers[number % 2]:
                seen.append(line)
        reader.kill()
        assert set(seen) <= {*answers, "replaced"}
        assert reader.stderr.read() == ""


def test_an_index_that_is_gone_is_called_replaced_and_not_damaged(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.store._REPLACED_WITHIN_S", 0.1)
    start(place, "folders renamed")
    with VectorIndex.open(place) as reader:
        place.rename(place.with_name("away"))
        with pytest.raises(IndexReplacedError, match="was replaced or removed while it was in use") as caught:
            reader.search(QUERY)
        assert "\n" not in str(caught.value) and "damaged" not in str(caught.value)
        with pytest.raises(IndexReplacedError):
            reader.tracks()
        place.with_name("away").rename(place)
        assert answer_of(reader) == answer_at(place)


def test_an_index_of_another_model_is_not_answered_from(place: Path) -> None:
    start(place, "folders renamed")
    old = place.with_name("away")
    with VectorIndex.open(place) as reader:
        before = answer_of(reader)
        place.rename(old)
        VectorIndex.create(place, Manifest(encoder="cd" * 32, encoder_name="another", dim=DIM)).close()
        with pytest.raises(IndexReplacedError, match=r"by one that model another made.*: open it again"):
            reader.search(QUERY)
        shutil.rmtree(place)
        old.rename(place)
        assert answer_of(reader) == before


def test_a_writer_never_writes_into_the_index_that_took_the_place_of_its_own(place: Path) -> None:
    start(place, "folders renamed")
    with VectorIndex.open(place, read_only=False) as writer:
        by_renaming(place, 0)
        before = bytes_of(place)
        for write in (
            lambda: writer.add(track("more"), spans(2), units(2, seed=5)),
            lambda: writer.remove("t1"),
            writer.compact,
            lambda: writer.search(QUERY),
        ):
            with pytest.raises(IndexReplacedError):
                write()
        assert bytes_of(place) == before


def test_a_commit_is_undone_if_the_folder_was_replaced_while_it_was_prepared(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from index import vector_index

    start(place, "folders renamed")
    append = vector_index.append_rows

    def append_and_replace(*arguments: object) -> None:
        append(*arguments)  # type: ignore[arg-type]
        by_renaming(place, 0)

    with VectorIndex.open(place, read_only=False) as writer:
        monkeypatch.setattr(vector_index, "append_rows", append_and_replace)
        with pytest.raises(IndexReplacedError):
            writer.add(track("more"), spans(2), units(2, seed=5))
    for folder in (place, place.with_name("new 1")):
        with VectorIndex.open(folder) as index:
            assert index.verify() == [] and index.track("more") is None


def test_a_check_says_that_the_index_was_replaced(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.maintenance._PAGE_TRACKS", 5)
    start(place, "folders renamed")
    swapped: list[int] = []

    def swap_once(done: int, total: int) -> None:
        if not swapped:
            by_renaming(place, 0)
            swapped.append(done)

    with VectorIndex.open(place) as reader:
        found = reader.check(on_progress=swap_once)
        with pytest.raises(IndexReplacedError):
            list(found)
        assert reader.verify() == []


def test_a_part_file_that_is_replaced_by_its_copy_is_read_again(place: Path) -> None:
    start(place, "folders renamed")
    part = place / PART
    with VectorIndex.open(place) as reader:
        before = answer_of(reader)
        data = part.read_bytes()
        part.with_name("copy").write_bytes(bytes(len(data)))
        os.replace(part.with_name("copy"), part)  # as rsync does
        assert len(answer_of(reader)) < len(before) and reader.damaged_tracks != []
        part.with_name("copy").write_bytes(data)
        os.replace(part.with_name("copy"), part)
        assert answer_of(reader) == before and reader.damaged_tracks == []


def test_rows_found_in_a_snapshot_are_those_of_the_matches_whatever_a_writer_does(tmp_path: Path) -> None:
    new_index(tmp_path / "index", n_tracks=30).close()
    vector_of = {f"t{i}.flac": units(3, seed=i) for i in range(30)}
    is_over = threading.Event()
    place = tmp_path / "index"

    def write() -> None:
        with VectorIndex.open(place, read_only=False) as writer:
            for number in range(15):
                writer.remove(f"t{number}.flac")
                writer.compact()
                writer.add(track(f"t{number}.flac"), spans(3), vector_of[f"t{number}.flac"])
        is_over.set()

    with VectorIndex.open(place) as reader:
        thread = threading.Thread(target=write)
        thread.start()
        n_rounds = 0
        while not is_over.is_set() or n_rounds < 5:
            with reader.snapshot():
                hits = reader.search(QUERY, top=40, per_segment=True)
                vectors = reader.vectors_at([hit.row for hit in hits])
            for hit, vector in zip(hits, vectors, strict=True):
                assert vector.tolist() == vector_of[hit.track.file][round(hit.start_s / 5.0)].tolist()
            n_rounds += 1
            time.sleep(0.001)
        thread.join()
