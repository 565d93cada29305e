"""Excerpts of open music: where they start, whose they are, and that the pack's absence is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from retrieval.datasets.base import DatasetError
from scripts.recipes.default.open_excerpts import open_excerpts


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    rows = ["file,labels,licence,source,artist,title,credit,group,seconds,rate_hz"]
    for name, labels, seconds in (("long", "jazz;blues", 60), ("short", "", 12), ("tiny", "folk", 4)):
        level = np.repeat(np.arange(seconds) / 100, 32000)  # the level says the second
        soundfile.write(tmp_path / f"{name}.wav", level, 32000, subtype="FLOAT")
        rows.append(f"{name}.wav,{labels},CC0,debian:x,A,T,T by A,7,{seconds},32000")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path


def test_a_long_track_gives_two_excerpts_and_a_short_one_its_middle(pack: Path) -> None:
    excerpts = open_excerpts(pack)
    assert [(excerpt.path.name, excerpt.start_s) for excerpt in excerpts] == [
        ("long.wav", 15),
        ("long.wav", 35),
        ("short.wav", 1),
        ("tiny.wav", 0),
    ]
    assert [excerpt.labels for excerpt in excerpts] == [("jazz", "blues"), ("jazz", "blues"), (), ("folk",)]
    assert {excerpt.group for excerpt in excerpts} == {"open_music/7"}
    second = excerpts[1].load(sample_rate_hz=32000)
    assert len(second) == 320_000 and second[100] == pytest.approx(0.35, abs=1e-4)
    assert len(excerpts[3].load(sample_rate_hz=32000)) == 128_000


def test_a_missing_pack_is_named_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"open_music --out .* or train without it by --no-open-music"):
        open_excerpts(tmp_path)


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,labels\na.ogg,dog\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="fetch the pack again"):
        open_excerpts(tmp_path)
