"""The parts of an evaluation, its report, and scores of a model directory on real files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from cli_helpers import Call, one_line
from sklearn.metrics import average_precision_score

from encoders.audio import AudioDecodeError
from retrieval.datasets.base import DatasetError, TaggedClip
from retrieval.evaluation import report
from retrieval.evaluation.protocol import evaluate
from retrieval.evaluation.scoring import score_clips
from retrieval.tagger import LabelError
from retrieval.tagging import open_tagger

DEMO = Path(__file__).resolve().parents[3] / "scripts" / "demo_library"
TAGS = ("a", "b", "c", "d", "e")
UNSEEN = ("d", "e")


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    truth = rng.random((40, 5)) < 0.25
    truth[:, 1] = False  # a tag that no clip has
    return truth + rng.normal(size=truth.shape), truth


def slow_map(scores: np.ndarray, truth: np.ndarray) -> float:
    columns = [column for column in range(truth.shape[1]) if truth[:, column].any()]
    return float(np.mean([average_precision_score(truth[:, column], scores[:, column]) for column in columns]))


def test_each_part_has_its_own_clips_and_tags(problem: tuple[np.ndarray, np.ndarray]) -> None:
    scores, truth = problem
    parts = evaluate(scores, truth, TAGS, UNSEEN)["parts"]
    seen, unseen = truth[:, :3].any(axis=1), truth[:, 3:].any(axis=1)
    assert list(parts) == ["all", "seen", "unseen", "generalised"]
    assert parts["all"]["tag_to_clip"]["map"] == pytest.approx(slow_map(scores, truth))
    assert parts["seen"]["tag_to_clip"]["map"] == pytest.approx(slow_map(scores[seen, :3], truth[seen, :3]))
    assert parts["unseen"]["tag_to_clip"]["map"] == pytest.approx(slow_map(scores[unseen, 3:], truth[unseen, 3:]))
    assert (parts["unseen"]["n_clips"], parts["unseen"]["n_tags"]) == (unseen.sum(), 2)
    whole = parts["generalised"]
    of_seen, of_unseen = slow_map(scores[:, :3], truth[:, :3]), slow_map(scores[:, 3:], truth[:, 3:])
    assert whole["unseen"]["tag_to_clip"]["map"] == pytest.approx(of_unseen)
    assert whole["harmonic_map"] == pytest.approx(2 / (1 / of_seen + 1 / of_unseen))
    best = scores.argmax(axis=1)
    found = [truth[row, best[row]] and best[row] >= 3 for row in np.flatnonzero(unseen)]
    assert whole["unseen"]["clip_to_tag"]["precision_at_1"] == pytest.approx(np.mean(found))
    assert parts["all"]["undefined"] == {
        "tags_without_positives": 1,
        "tags_without_roc_auc": 1,
        "clips_without_positives": int((~truth.any(axis=1)).sum()),
    }
    assert parts["all"]["chance_map"] == pytest.approx(truth.mean(axis=0)[[0, 2, 3, 4]].mean())


def test_without_unseen_tags_there_is_one_part(problem: tuple[np.ndarray, np.ndarray]) -> None:
    result = evaluate(*problem, TAGS, n_bootstrap=50)
    assert list(result["parts"]) == ["all"]
    low, high = result["parts"]["all"]["intervals"]["map"]
    assert low < result["parts"]["all"]["tag_to_clip"]["map"] < high
    rows = {row["tag"]: row for row in result["per_tag"]}
    assert rows["a"]["ap_low"] <= rows["a"]["ap"] <= rows["a"]["ap_high"]
    assert math.isnan(rows["b"]["ap"])
    assert rows["b"]["n_positives"] == 0


def test_perfect_and_hopeless_scores() -> None:
    truth = np.eye(12, dtype=bool)
    best = evaluate(truth.astype(float), truth, [str(n) for n in range(12)])["parts"]["all"]
    ceilings = dict.fromkeys(best["tag_to_clip"], 1.0) | {"precision_at_10": 0.1}  # one clip a tag
    assert best["tag_to_clip"] == pytest.approx(ceilings)
    worst = evaluate(np.zeros((12, 12)), truth, [str(n) for n in range(12)])["parts"]["all"]["tag_to_clip"]
    assert worst["map"] == pytest.approx(1 / 12)
    assert worst["roc_auc"] == pytest.approx(0.5)
    assert worst["recall_at_5"] == pytest.approx(5 / 12)
    assert worst["median_rank"] == pytest.approx(6.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": ("a", "b")}, "different names"),
        ({"tags": ("a", "a", "b", "c", "d")}, "different names"),
        ({"unseen": ("x",)}, "unseen tags that are not measured: x"),
        ({"truth": np.zeros((40, 5))}, "no positives"),
        ({"groups": ["x"]}, "as many groups"),
    ],
)
def test_bad_input(problem: tuple[np.ndarray, np.ndarray], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(**{"scores": problem[0], "truth": problem[1], "tags": TAGS, **change})


def test_reports(problem: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    result = evaluate(*problem, ("a|b", "b", "c $x$", "d", "e"), UNSEEN, n_bootstrap=20)
    header, rows = report.measure_table(result)
    assert header == ["measure", "all", "seen", "unseen", "seen, generalised", "unseen, generalised"]
    assert all(len(row) == len(header) for row in rows)
    assert rows[0][1].startswith(f"{result['parts']['all']['tag_to_clip']['map']:.3f} [")
    header, rows = report.tag_table(result)
    assert rows[-1][:4] == ["b", "", "0", "–"]
    text = report.markdown(result, per_tag=True)
    assert "a\\|b" in text
    assert "Harmonic mean" in text
    values = report.json_values(result)
    assert values["per_tag"][1]["ap"] is None
    assert "NaN" not in json.dumps(values)
    report.write_plot(tmp_path / "tags.png", result, title="five tags")
    assert (tmp_path / "tags.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"must end in \.png"):
        report.write_plot(tmp_path / "tags.txt", result)


# Real files, the shipped model.


@pytest.fixture(scope="module")
def demo_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four of the demo's clips, a bad row and a label that is no word."""
    folder = tmp_path_factory.mktemp("demo")
    rows = {
        "08 letter to no one.ogg": "piano",
        "06 back porch.ogg": "banjo",
        "24 back room.ogg": "drums",
        "18 paper bird.ogg": "flute",
    }
    lines = [f"{DEMO / name},{labels},{'train' if labels == 'flute' else 'test'}" for name, labels in rows.items()]
    (folder / "labels.csv").write_text("file,labels,split\n" + "\n".join(lines) + "\n", encoding="utf-8")
    bad = [
        *lines,
        "gone.ogg,piano,test",
        f"{DEMO / 'CREDITS.md'},banjo,test",
        f"{DEMO / '27 harbour lights.ogg'},qqxqz,",
    ]
    (folder / "bad.csv").write_text("file,labels,split\n" + "\n".join(bad) + "\n", encoding="utf-8")
    return folder


def test_the_command_end_to_end(call: Call, demo_table: Path, tmp_path: Path) -> None:
    unseen = tmp_path / "unseen.txt"
    unseen.write_text("# held out\nbanjo\n\nviolin\n", encoding="utf-8")
    common = ["evaluate", "--data", str(demo_table), "--split", "test", "--cache", str(tmp_path / "cache")]
    status, out, err = call(*common, "--unseen-labels", unseen, "--json", "--bootstrap", "10")
    assert (status, err) == (0, "warning: left out: 1 unseen tags of no clip: violin\n")
    found = json.loads(out)
    assert found["parts"]["all"]["tag_to_clip"]["map"] == 1.0
    assert found["parts"]["all"]["n_clips"] == 3
    assert [row["tag"] for row in found["per_tag"] if row["unseen"]] == ["banjo"]
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 3
    plot, tables = tmp_path / "p.png", tmp_path / "p.md"
    status, out, err = call(*common, "--plot", plot, "--markdown", tables, "--per-tag")
    assert (status, err) == (0, "")
    assert "mAP (macro PR-AUC)" in out
    assert plot.stat().st_size > 1000
    assert "| banjo |" in tables.read_text(encoding="utf-8")


def test_bad_rows_stop_an_evaluation_or_are_left_out(call: Call, demo_table: Path, tmp_path: Path) -> None:
    bad = ["evaluate", "--data", str(demo_table / "bad.csv")]
    status, out, err = call(*bad)
    assert (status, out) == (2, "")
    assert one_line(err, start="error: ")
    assert "1 missing files: gone.ogg" in err
    status, _, err = call(*bad, "--drop-bad")
    assert status == 0
    for part in ("1 missing files", "label 'qqxqz': the model does not know 'qqxqz': it is left out", "CREDITS.md"):
        assert part in err


def test_tags_that_the_model_does_not_know_are_named_and_never_read_as_others(
    call: Call, demo_table: Path, tmp_path: Path
) -> None:
    """A misspelled label is none of an evaluation's: as "banjo" it would be measured twice, or on wrong clips."""
    rows = (demo_table / "labels.csv").read_text(encoding="utf-8").splitlines()
    table, markdown = demo_table / "misspelled.csv", tmp_path / "tables.md"
    table.write_text("\n".join([rows[0], *(row.replace("banjo", "bnajo") for row in rows[1:])]), encoding="utf-8")
    status, out, err = call("evaluate", "--data", table, "--split", "test", "--json", "--markdown", markdown)
    assert status == 0
    assert one_line(err, start="warning: label 'bnajo': the model does not know 'bnajo' (did you mean banjo")
    found = json.loads(out)
    assert found["unknown"]["bnajo"][0] == "banjo"
    assert "bnajo" not in {row["tag"] for row in found["per_tag"]}
    assert found["parts"]["all"]["n_tags"] == len(found["per_tag"])
    assert "1 more tags: 'bnajo'" in markdown.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--plot", "p.txt"], "--plot"),
        (["--split", "dev"], "'dev'"),
        (["--unseen-labels", "{unseen}"], "no clip has any of the unseen tags (violin)"),
        (["--unseen-labels", "{table}"], "not UTF-8"),
    ],
)
def test_an_evaluation_that_cannot_be_made(
    call: Call, demo_table: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    (tmp_path / "unseen.txt").write_text("violin\n", encoding="utf-8")
    (tmp_path / "binary").write_bytes(b"\x80\x81")
    places = {"unseen": tmp_path / "unseen.txt", "table": tmp_path / "binary"}
    status, out, err = call("evaluate", "--data", demo_table, *(option.format(**places) for option in options))
    assert (status, out) == (2, "")
    assert one_line(err, start="error: ")
    assert message in err


def test_clips_without_labels_count_as_negatives(call: Call, tmp_path: Path) -> None:
    rows = ["08 letter to no one.ogg,piano", "06 back porch.ogg,banjo", "24 back room.ogg,"]
    table = tmp_path / "labels.csv"
    table.write_text("file,labels\n" + "".join(f"{DEMO}/{row}\n" for row in rows), encoding="utf-8")
    status, out, err = call("evaluate", "--data", tmp_path, "--json", "--device", "cpu")
    assert status == 0
    assert err == "warning: 1 of 3 clips have no labels: they count as negatives of every tag\n"
    whole = json.loads(out)["parts"]["all"]
    assert (whole["n_clips"], whole["n_tags"]) == (3, 2)
    assert whole["undefined"]["clips_without_positives"] == 1
    assert whole["chance_map"] == pytest.approx(1 / 3, abs=1e-6)


def test_arrays_score_as_their_files_do(tmp_path: Path) -> None:
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * 32_000) / 32_000).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", wave, 32_000, subtype="FLOAT")
    np.save(tmp_path / "x.npy", wave)
    clips = [
        TaggedClip(tmp_path / "x.wav", ("flute",)),
        TaggedClip(tmp_path / "x.npy", ("flute",), array_rate_hz=32_000),
        TaggedClip(tmp_path / "gone.wav", ("flute",)),
    ]
    done: list[tuple[int, int]] = []
    bad: list[Exception] = []
    scored = score_clips(
        open_tagger(device="cpu"),
        clips,
        ["flute", "drums"],
        on_clip=lambda *count: done.append(count),
        on_bad=lambda clip, error: bad.append(error),
    )
    assert scored.scores.shape == (2, 2)
    assert scored.kept.tolist() == [0, 1]
    np.testing.assert_allclose(scored.scores[0], scored.scores[1], atol=1e-4)
    assert scored.scores[0, 0] > scored.scores[0, 1]
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert [type(error) for error in bad] == [AudioDecodeError]


def test_what_cannot_be_scored() -> None:
    tagger = open_tagger(device="cpu")
    assert tagger.unknown_labels(["piano", "qqxqz"]) == ["qqxqz"]
    with pytest.raises(LabelError, match="none of these words: 'qqxqz'"):
        score_clips(tagger, [], ["piano", "qqxqz"])
    with pytest.raises(DatasetError, match="none of the 0 clips can be read"):
        score_clips(tagger, [], ["piano"])
