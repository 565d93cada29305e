"""The bench of damaged files: a small run, what it finds when something is wrong, and the damages themselves."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from encoders.audio import load_audio
from scripts.bench import hostile
from scripts.bench.hostile import Batch, Outcome, file_of, main, report, run_all
from scripts.bench.hostile_damage import DAMAGES, damage
from scripts.bench.hostile_formats import FORMATS, Original, make_originals


@pytest.fixture(scope="module")
def originals() -> list[list[Original]]:
    return make_originals(7, per_format=2)


def test_every_format_is_written_whole(originals: list[list[Original]], tmp_path: Path) -> None:
    assert len({original.format.name for group in originals for original in group}) == len(FORMATS) >= 15
    for original in (group[0] for group in originals):
        path = tmp_path / f"a{original.format.extension}"
        path.write_bytes(original.data)
        assert len(load_audio(path)) / 32_000 == pytest.approx(original.duration_s, abs=0.1), original.format.name


def test_every_format_gets_every_damage_and_the_same_again(originals: list[list[Original]]) -> None:
    n_pairs = len(FORMATS) * len(DAMAGES)
    made = [file_of(number, 3, originals) for number in range(n_pairs)]
    again = [file_of(number, 3, originals) for number in range(n_pairs)]
    assert made == again
    assert made != [file_of(number, 4, originals) for number in range(n_pairs)]
    pairs = {(original.format.name, damaged.damage) for original, damaged in made}
    inapplicable = {"a length that lies", "damaged tags around"}
    for name in DAMAGES.keys() - inapplicable:
        assert {kind for kind, done in pairs if done == name} == {kind.name for kind in FORMATS}, name
    assert len({kind for kind, done in pairs if done == "a length that lies"}) >= 12


def test_a_damage_says_what_is_left(originals: list[list[Original]]) -> None:
    rng = np.random.default_rng(0)
    (wav,) = (group[0] for group in originals if group[0].format.name == "wav pcm16")
    for name in DAMAGES:
        damaged = damage(wav, name, rng, [group[0] for group in originals])
        assert 0.0 <= damaged.shortest_s <= damaged.longest_s
        assert (damaged.data == wav.data) == (name in {"none", "extension of another"})
    assert damage(wav, "junk after", rng, []).is_whole
    assert damage(wav, "a length that lies", rng, []).shortest_s == pytest.approx(wav.duration_s, abs=0.16)
    assert math.isinf(damage(wav, "junk before", rng, [wav]).longest_s)


def test_a_small_run_loses_nothing_and_an_interrupted_one_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostile, "_PER_FORMAT", 1)
    arguments = ["--files", "60", "--batch", "30", "--workers", "1", "--work", str(tmp_path / "work"), "--seed", "5"]
    run = hostile.Bench.run
    started: list[int] = []

    def interrupted(bench: hostile.Bench, numbers: range, folder: Path) -> Batch:
        started.append(numbers[0])
        if len(started) == 2:
            raise KeyboardInterrupt
        return run(bench, numbers, folder)

    monkeypatch.setattr(hostile.Bench, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(arguments)
    assert main([*arguments, "--out", str(tmp_path / "out.json")]) == 0
    assert started == [0, 30, 30]
    assert not (tmp_path / "work").exists()
    out, err = capsys.readouterr()
    assert "60/60 files" in err
    values = json.loads(out)
    assert values == json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert (values["ok"], values["faults"], values["files"]) == (True, [], 60)
    assert sum(values["states"].values()) == 60
    assert values["states"]["indexed"] > 20 and values["states"]["skipped"] > 5
    assert values["oracles"]["none"]["right"] == values["oracles"]["none"]["files"] > 0


def test_what_is_lost_or_wrong_is_reported(tmp_path: Path) -> None:
    batch = Batch(
        [
            Outcome("a.wav", "wav", "none", "indexed", duration_s=3.0, shortest_s=2.9, longest_s=3.1, cosine=1.0),
            Outcome("b.wav", "wav", "none", "indexed", duration_s=3.0, shortest_s=2.9, longest_s=3.1, cosine=0.5),
            Outcome("c.wav", "wav", "none", "indexed", duration_s=3.0, shortest_s=2.9, longest_s=3.1, cosine=math.nan),
            Outcome("d.wav", "wav", "cut", "partial", "only 2 s", duration_s=2.0, longest_s=1.0),
            Outcome("e.wav", "wav", "none", "skipped", "unexpected KeyError: 1", shortest_s=2.9, longest_s=3.1),
            Outcome("f.wav", "wav", "cut", "skipped", "damaged (header) (decoder: SIGSEGV)", longest_s=1.0),
            Outcome(
                "g.wav", "wav", "flipped bits", "skipped", "the decoder hangs (header): nothing came", seconds=61.0
            ),
            Outcome("h.wav", "wav", "flipped bits", "lost"),
        ],
        ["h.wav: lost without a reason"],
    )
    values = report([batch])
    assert values["faults"] == ["h.wav: lost without a reason"]
    assert values["states"] == {"indexed": 3, "partial": 1, "skipped": 3, "lost": 1}
    assert (values["n_crashed"], values["n_hung"], len(values["unexpected"])) == (1, 1, 1)
    assert values["slowest"] == {"name": "g.wav", "seconds": 61.0}
    assert values["oracles"]["none"] == {
        "files": 4,
        "right": 1,
        "wrong_by_format": {"wav": 3},
        "wrong": [
            "b.wav: expected 2.90-3.10 s, 3.00 s decoded, cosine 0.500",
            "c.wav: expected 2.90-3.10 s, 3.00 s decoded, cosine nan",
            "e.wav: expected 2.90-3.10 s, unexpected KeyError: 1",
        ],
    }
    assert values["oracles"]["cut"]["right"] == 1
    assert "flipped bits" not in values["oracles"]
    assert "lost" in hostile.table(values)


def test_a_build_that_fails_and_files_that_vanish_are_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        fingerprint = "5ca1ab1e" * 4
        sample_rate_hz, chunk_s, segment_chunks = 32_000, 5.0, 1

        def chunk_features(self, chunks: np.ndarray) -> np.ndarray:
            return np.abs(chunks[:, :3]) + 0.1

        def segment_vectors(self, features: np.ndarray) -> np.ndarray:
            return features / np.linalg.norm(features, axis=1, keepdims=True)

    bench = hostile.Bench(0, model=Model(), workers=1, stall_s=10.0, per_format=1)
    whole = hostile.VectorIndex.tracks
    monkeypatch.setattr(hostile.VectorIndex, "tracks", lambda index: whole(index)[1:])
    (batch,) = run_all(bench, 8, batch_files=8, work=tmp_path, on_progress=lambda *_: None)
    assert [fault.partition(": ")[2] for fault in batch.faults] == ["lost without a reason"]
    monkeypatch.setattr(hostile, "build", lambda *_, **__: 1 / 0)
    failed = bench.run(range(8), tmp_path)
    assert failed.faults == ["the build ended with ZeroDivisionError: division by zero (files 0 to 7)"]
