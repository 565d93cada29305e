"""Reliability of scores: bins and the calibration error against a count by hand, and the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from scripts.bench import reliability as bench


def test_pairs_are_weighted_to_the_prior() -> None:
    scores = np.array([[0.25, 0.85], [0.25, 0.05], [0.25, 1.0]])
    truth = np.array([[True, True], [False, False], [False, False]])
    found = bench.reliability(scores, truth)
    assert found.pairs.tolist() == [1, 0, 3, 0, 0, 0, 0, 0, 1, 1]
    positive, negative = 0.1 / 2, 0.9 / 4  # the weight of a pair
    assert found.positive[2] == pytest.approx(positive / (positive + 2 * negative))
    assert (found.positive[8], found.positive[0], found.positive[9]) == (1.0, 0.0, 0.0)
    assert np.isnan(found.positive[1])
    errors = [
        negative * 0.05,
        (positive + 2 * negative) * abs(0.25 - found.positive[2]),
        positive * 0.15,
        negative * 1.0,
    ]
    assert found.ece == pytest.approx(sum(errors))


def test_scores_drawn_from_their_probability_are_reliable() -> None:
    rng = np.random.default_rng(1)
    p = rng.beta(0.3, 2.7, size=(4000, 10))  # mean 0.1, the prior
    found = bench.reliability(p, rng.random(p.shape) < p)
    assert found.ece < 0.01
    assert bench.reliability(np.sqrt(p), rng.random(p.shape) < p).ece > 0.1


@pytest.mark.parametrize("truth", [np.zeros((2, 2), bool), np.ones((2, 2), bool)])
def test_one_kind_of_pairs_is_refused(truth: np.ndarray) -> None:
    with pytest.raises(ValueError, match="positive and negative pairs"):
        bench.reliability(np.full((2, 2), 0.5), truth)


def test_the_command_measures_four_packs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packs = {"instruments_freesound": ("piano", "flute"), "esc": ("dog", "rain"), "emotify": ("rock", "classical")}
    for pack, labels in packs.items():
        (tmp_path / pack).mkdir()
        rows = ["file,labels,split"]
        for i, label in enumerate(labels):
            noise = np.random.default_rng(i).uniform(-0.3, 0.3, 32_000)
            soundfile.write(tmp_path / pack / f"{i}.wav", noise, 32_000)
            rows.append(f"{i}.wav,{label};calmness,fold5")
        (tmp_path / pack / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "fourq_dev").mkdir()
    rows = ["file,genres"]
    for i in range(10):
        soundfile.write(
            tmp_path / "fourq_dev" / f"{i}.wav", np.random.default_rng(i).uniform(-0.3, 0.3, 32_000), 32_000
        )
        rows.append(f"{i}.wav,{('jazz', 'pop rock')[i % 2]}")
    rows += ["9.wav,polka", "9.wav,"]  # one song of a genre is too few, and one has none
    (tmp_path / "fourq_dev" / "labels.csv").write_text("\n".join(rows).replace("pop rock", "pop;rock") + "\n")
    picture = tmp_path / "plot.png"
    monkeypatch.setattr("sys.argv", ["reliability", "--data", str(tmp_path), "--plot", str(picture)])
    bench.main()
    *table, line = capsys.readouterr().out.splitlines()
    assert len(table) == bench.N_BINS + 3
    found = json.loads(line)
    assert [sum(bin_["pairs"] for bin_ in found[pack]["bins"]) for pack in ("instruments_freesound", "esc fold5")] == [
        4,
        4,
    ]
    assert (found["fourq_dev"]["clips"], sum(bin_["pairs"] for bin_ in found["fourq_dev"]["bins"])) == (10, 30)
    assert (found["emotify"]["clips"], found["prior"]) == (2, 0.1)
    assert picture.stat().st_size > 1000
