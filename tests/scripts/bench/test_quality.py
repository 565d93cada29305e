"""The quality bench: its sets and parts, its measures against a count by hand, the gate, and the whole command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from encoders.backbones.published import EFFICIENTAT_KEYS, PUBLISHED
from scripts.bench import quality as bench
from scripts.bench.quality_sets import ESC_50, INSTRUMENTS, EvaluationSet, is_for_choosing, read_sets

GENRES = ("jazz", "rock")
MOODS = ("happy", "sad")


def write_packs(folder: Path, *, n_clips: int = 12) -> Path:
    """Write tiny packs in the layouts of the real ones."""
    rng = np.random.default_rng(0)
    columns = {
        "esc": ("file,labels,split", lambda i: f"{('dog', 'rain')[i % 2]},fold{5 if i < n_clips - 2 else 1}"),
        "instruments_freesound": ("file,labels,split", lambda i: f"{('flute', 'cello')[i % 2]},"),
        "fourq_dev": ("file,genres,moods", lambda i: f"{GENRES[i % 2]},{MOODS[i % 2]};{('rare', '')[i > 0]}"),
        "emotify": ("file,labels,split", lambda i: f"{('rock', 'pop')[i % 2]};calmness,eval"),
    }
    for pack, (header, row) in columns.items():
        (folder / pack).mkdir(parents=True)
        lines = [header]
        for i in range(n_clips):
            soundfile.write(folder / pack / f"{i}.wav", rng.normal(0, 0.1 + 0.1 * (i % 2), 32_000), 32_000)
            lines.append(f"{i}.wav,{row(i)}")
        (folder / pack / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_weights(folder: Path) -> Path:
    """Write the published checkpoint's form of an untrained network."""
    torch.manual_seed(0)
    folder.mkdir()
    state = {EFFICIENTAT_KEYS.theirs(k): v for k, v in PUBLISHED["efficientat-mn04"].build().state_dict().items()}
    torch.save(state, folder / "efficientat_mn04_audioset.pt")
    return folder


def test_the_lists_are_complete_and_without_repetition() -> None:
    assert (len(set(ESC_50)), len(set(INSTRUMENTS))) == (50, 60)


def test_sets_are_read_with_the_names_that_compete(tmp_path: Path) -> None:
    sounds, instruments, genres, moods, four = read_sets(write_packs(tmp_path / "data"))
    assert (sounds.labels, len(sounds.candidates), len(sounds.paths)) == (("dog", "rain"), 50, 10)  # fold 5 alone
    assert (instruments.labels, instruments.candidates[:2]) == (("cello", "flute"), ("cello", "flute"))
    assert (genres.labels, moods.labels) == (GENRES, MOODS)  # "rare" holds for one clip
    assert (four.labels, four.candidates) == (("pop", "rock"), ("pop", "rock", "classical", "electronic"))
    assert four.truth[:2].tolist() == [[False, True], [True, False]]


def test_each_clip_is_in_one_part_whatever_its_folder() -> None:
    names = [Path(f"{i}.ogg") for i in range(4000)]
    chosen = [is_for_choosing(name) for name in names]
    assert 900 < sum(chosen) < 1100
    assert chosen == [is_for_choosing(Path("elsewhere") / name) for name in names]
    one = EvaluationSet("x", tuple(names), ("a",), np.zeros((4000, 1), bool), ("a",), False)
    assert (one.part(choosing=True) ^ one.part(choosing=False)).all()


def test_measures_by_hand() -> None:
    truth = np.array([[True, False], [True, False], [False, True], [False, True]])
    one = EvaluationSet("x", tuple(map(Path, "abcd")), ("p", "q"), truth, ("p", "q", "r"), True)
    scores = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.0], [0.5, np.nan, 0.9], [0.1, np.nan, 0.0]])
    scores[:, 1] = np.nan  # q is not known
    drawn = np.ones((3, 4), np.int64)
    found = bench.measures(one, scores, np.ones(4, bool), drawn)
    assert found.unknown == ["q"]
    assert found.values["mAP"] == pytest.approx(((1 + 2 / 3) / 2 + 0.5) / 2)  # p ranks 1st and 3rd; q is a guess
    assert found.values["ROC-AUC"] == pytest.approx((0.75 + 0.5) / 2)
    assert found.values["top-1"] == 0.5  # the third clip is taken for r, the fourth for p


@pytest.mark.parametrize(("shift", "falls"), [(0.0, False), (0.6, True)])
def test_the_gate_sees_a_fall_and_not_noise(shift: float, falls: bool) -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((200, 3)) < 0.3
    one = EvaluationSet("x", tuple(Path(str(i)) for i in range(200)), ("a", "b", "c"), truth, ("a", "b", "c"), False)
    drawn = bench.resamples(200, seed=0)
    good = truth + rng.normal(0, 0.5, truth.shape)
    other = truth * (1 - shift) + rng.normal(0, 0.5, truth.shape)
    of = {"model": other, "composed start": good}
    measured = {name: bench.measures(one, scores, np.ones(200, bool), drawn) for name, scores in of.items()}
    assert bool(bench.below(measured)) == falls
    assert bench.below({"model": measured["composed start"], "last release": measured["model"]}) == []


def test_the_command_compares_with_saved_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, weights = write_packs(tmp_path / "data"), write_weights(tmp_path / "weights")
    saved = tmp_path / "scores.npz"
    common = ["--data", str(data), "--weights", str(weights), "--part", "all"]
    assert bench.main([*common, "--save-scores", str(saved)]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert bench.main([*common, "--against", str(saved), "--gate"]) in (0, 1)
    printed = capsys.readouterr()
    found = json.loads(printed.out.splitlines()[-1])
    assert found["clips"] == {"sounds": 10, "instruments": 12, "genres": 12, "moods": 12, "four genres": 12}
    for name, of_system in found["sets"].items():
        assert list(of_system) == ["model", "composed start", "last release"]
        for measure in ("mAP", "ROC-AUC"):
            values = {system: of[measure]["value"] for system, of in of_system.items()}
            assert values["model"] == first["sets"][name]["model"][measure]["value"]
            assert values["last release"] == pytest.approx(values["model"], abs=0.05)  # float16
            assert 0.0 <= values["composed start"] <= 1.0
    assert "| instruments | P@10 |" in printed.err
    (data / "emotify" / "labels.csv").write_text("file,labels,split\n1.wav,pop;calmness,eval\n", encoding="utf-8")
    with pytest.raises(ValueError, match="'four genres' has other clips or names"):
        bench.main([*common, "--against", str(saved)])
