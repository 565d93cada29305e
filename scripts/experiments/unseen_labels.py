"""Compare a model trained without some labels with one trained with them, on these labels.

    python -m scripts.recipes.default.train --data DATA --weights WEIGHTS --out RUN \\
        --hold-out-labels scripts/experiments/unseen_labels.txt
    python -m scripts.experiments.unseen_labels --data DATA/audio --unseen RUN/model --out OUT

--data holds the packs instruments_freesound, esc (fold 5 is used) and emotify (its genres are used), each with its
labels.csv. The fourth test set is rendered from a soundfont that the recipe does not use.

A clip's score for a label is its mean segment vector times the text vector. A label's figure is its average precision
over all clips of a test set, averaged over the test sets that have the label. mAP is the mean over labels; chance is
the mean share of clips with the label. The interval of the difference is a bootstrap over labels, seen and unseen drawn
together. It covers the choice of labels, not that of clips or of the seed.

What "unseen" means is defined in scripts.recipes.default.exclusion. The published network was trained on AudioSet
with all of its classes, and the word vectors on text with all words; the recipe that maps one to the other was not
trained on these labels.

--out receives the rendered clips, decoded audio, and unseen_labels.md, .json and .png. The last line of output is the
result as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from transformers.utils.logging import disable_progress_bar

from encoders.checkpoint import DEFAULT_MODEL_DIR
from encoders.text.word_vectors import WordVectors
from encoders.two_tower import TwoTowerModel
from retrieval.datasets.base import TaggedClips, format_names
from retrieval.datasets.label_leakage import LeakageFilter
from retrieval.datasets.load import read_dataset
from retrieval.datasets.waveforms import WaveformStore
from retrieval.label_file import read_label_file
from retrieval.training.tasks import clip_vectors
from scripts.experiments.comparison.console import exit_status, log, progress_callback
from scripts.experiments.comparison.data import Rendering, render_dataset
from scripts.experiments.comparison.unseen_report import GROUPS, draw, markdown
from scripts.soundfonts import TIM_GM6MB

LABELS = Path(__file__).with_suffix(".txt")
GENRES = frozenset(("classical", "electronic", "pop", "rock"))  # the other labels of emotify are moods
RENDERED_CLIPS, RENDERED_CLIP_S = 400, 5.0
MIN_CLIPS = 5
RESAMPLES, SEED = 10_000, 0
_NOTE = "training.json"


@dataclass(frozen=True)
class TestSet:
    """Clips on which labels of one group are measured."""

    __test__ = False  # not a test class of pytest

    group: str
    clips: TaggedClips


@dataclass(frozen=True)
class LabelMetrics:
    """Metrics of one label, each the mean over its test sets.

    Attributes:
        group: instruments, genres or sounds.
        chance: share of clips that carry the label.
        seen, unseen: average precision by the model trained with the label, and by the one trained without.
        tests: test set -> number of clips, of those with the label, and the same metrics there.
    """

    group: str
    chance: float
    seen: float
    unseen: float
    tests: dict[str, dict[str, float]]


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the packs")
    parser.add_argument(
        "--seen", type=Path, default=DEFAULT_MODEL_DIR, metavar="MODEL", help="(default: the shipped one)"
    )
    parser.add_argument(
        "--unseen", type=Path, required=True, metavar="MODEL", help="model trained with --hold-out-labels"
    )
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    parser.add_argument("--labels", type=Path, default=LABELS, metavar="FILE", help="(default: the shipped list)")
    parser.add_argument("--test-soundfont", type=Path, default=TIM_GM6MB, metavar="FILE", help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, help="threads of torch")
    return parser.parse_args(argv)


def held_out_by(model: Path) -> frozenset[str]:
    """Return the labels that a model was trained without, as recorded in its directory.

    Raises:
        ValueError: there is no record.
    """
    try:
        return _held_out(json.loads((model / _NOTE).read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{model} has no readable {_NOTE}, which records the labels held out") from error


def _held_out(notes: Mapping[str, Any]) -> frozenset[str]:
    """Return the labels held out; for a fine-tuned model, those that neither stage was trained on."""
    if notes.get("start"):
        return _held_out(notes["start"]) - frozenset(notes["tags"])
    return frozenset(notes.get("held_out_labels", {}).get("labels", {}))


def check_models(seen: Path, unseen: Path, labels: Sequence[str]) -> None:
    """Check that one model was trained on all labels and the other on none.

    Raises:
        ValueError: it is not so.
    """
    used = [label for label in labels if label not in held_out_by(unseen)]
    if used:
        raise ValueError(
            f"--unseen {unseen}: its {_NOTE} does not record that {len(used)} of {len(labels)} labels were held out "
            f"({format_names(used)}): train it with --hold-out-labels and the same list"
        )
    unused = [label for label in labels if label in held_out_by(seen)]
    if unused:
        raise ValueError(
            f"--seen {seen} was itself trained without {len(unused)} of the labels: {format_names(unused)}"
        )


def test_sets(packs: Path, rendered: TaggedClips) -> dict[str, TestSet]:
    """Return the test sets by name.

    Raises:
        DatasetError: a pack is missing or cannot be read.
    """
    emotify = read_dataset(packs / "emotify")
    genres = (replace(clip, labels=tuple(name for name in clip.labels if name in GENRES)) for clip in emotify.clips)
    return {
        "instruments_freesound": TestSet("instruments", read_dataset(packs / "instruments_freesound")),
        "synthesised": TestSet("instruments", rendered),
        "emotify": TestSet("genres", replace(emotify, clips=tuple(genres))),
        "esc, fold 5": TestSet("sounds", read_dataset(packs / "esc").of_split("fold5")),
    }


test_sets.__test__ = False  # type: ignore[attr-defined]  # not a test of pytest


def measurable(sets: Mapping[str, TestSet], names: Iterable[str]) -> dict[str, list[str]]:
    """Return, for each test set, the names that at least `MIN_CLIPS` of its clips have, sorted."""
    wanted = set(names)
    found = {}
    for test, of in sets.items():
        truth = of.clips.truth(of.clips.tags)
        counts = dict(zip(of.clips.tags, truth.sum(0), strict=True))
        found[test] = sorted(name for name in wanted if counts.get(name, 0) >= MIN_CLIPS)
    return found


def others(sets: Mapping[str, TestSet], labels: Sequence[str], model: TwoTowerModel) -> list[str]:
    """Return the labels of the test sets that the model knows and that do not reveal any of `labels`."""
    assert model.vocabulary is not None
    word_vectors = WordVectors.from_tensors(model.vocabulary, model.words.arrays())
    there = sorted({name for of in sets.values() for name in of.clips.tags})
    gone = LeakageFilter(labels, word_vectors).leaks(there)
    return [name for name in there if name not in gone and model.vocabulary.split(name)[0]]


def measured(
    sets: Mapping[str, TestSet],
    names: Mapping[str, Sequence[str]],
    scores: Callable[[str, Sequence[str]], tuple[np.ndarray, np.ndarray]],
) -> dict[str, LabelMetrics]:
    """Measure labels.

    Args:
        sets: the test sets.
        names: labels measured in each.
        scores: takes a test set and names, returns the scores of the seen and of the unseen model, each
            [shape=(n_clips, n_names)].

    Returns:
        Label -> its metrics, by group and name.
    """
    found: dict[tuple[int, str], dict[str, dict[str, float]]] = {}
    for test, of_test in names.items():
        if not of_test:
            continue
        truth = sets[test].clips.truth(of_test)
        for name, positive, one, other in zip(of_test, truth.T, *(s.T for s in scores(test, of_test)), strict=True):
            found.setdefault((GROUPS.index(sets[test].group), name), {})[test] = {
                "clips": len(positive),
                "positives": int(positive.sum()),
                "chance": float(positive.mean()),
                "seen": float(average_precision_score(positive, one)),
                "unseen": float(average_precision_score(positive, other)),
            }
    return {
        name: LabelMetrics(
            GROUPS[group],
            *(float(np.mean([of[key] for of in tests.values()])) for key in ("chance", "seen", "unseen")),
            tests,
        )
        for (group, name), tests in sorted(found.items())
    }


def interval(differences: np.ndarray, *, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of the mean of paired differences [shape=(n_labels,)] over drawn labels."""
    rows = np.random.default_rng(SEED).integers(len(differences), size=(RESAMPLES, len(differences)))
    low, high = np.quantile(differences[rows].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def summary_of(metrics: Iterable[LabelMetrics]) -> dict[str, Any]:
    """Return mAP, chance and the difference with its interval, over labels."""
    rows = np.array([[of.chance, of.seen, of.unseen] for of in metrics])
    chance, seen, unseen = (float(value) for value in rows.mean(0))
    return {
        "labels": len(rows),
        "chance": chance,
        "seen_map": seen,
        "unseen_map": unseen,
        "difference": unseen - seen,
        "interval": interval(rows[:, 2] - rows[:, 1]),
    }


def summarise(found: Mapping[str, LabelMetrics], rest: Mapping[str, LabelMetrics]) -> dict[str, dict[str, Any]]:
    """Return the summaries of each group, of all held-out labels, and of other labels of the same test sets."""
    grouped = {group: [of for of in found.values() if of.group == group] for group in GROUPS}
    summary = {group: summary_of(of) for group, of in grouped.items() if of}
    summary["all"] = summary_of(found.values())
    if rest:
        summary["not held out"] = summary_of(rest.values())
    return summary


class Scores:
    """Scores of the test clips by both models. Every clip is embedded once by each."""

    def __init__(self, sets: Mapping[str, TestSet], models: Sequence[TwoTowerModel], work: Path) -> None:
        self._models = models
        self._vectors: dict[str, list[np.ndarray]] = {}
        for test, of in sets.items():
            self._vectors[test] = []
            for model in models:
                rate_hz = model.sample_rate_hz
                folder = work / f"{test.replace(', ', '-').replace(' ', '')}-{rate_hz}"
                sounds = WaveformStore.open(
                    of.clips.clips, folder, sample_rate_hz=rate_hz, on_clip=progress_callback(f"decoding {test}")
                )
                self._vectors[test].append(clip_vectors(model, sounds))
                log(f"{test}: {len(sounds)} clips embedded by model {len(self._vectors[test])} of {len(models)}")

    def __call__(self, test: str, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        seen, unseen = (
            vectors @ model.encode_text(list(names)).T
            for vectors, model in zip(self._vectors[test], self._models, strict=True)
        )
        return seen, unseen


def run(args: argparse.Namespace) -> None:
    """Run the experiment."""
    disable_progress_bar()
    if args.threads:
        torch.set_num_threads(args.threads)
    labels = tuple(read_label_file(args.labels))
    check_models(args.seen, args.unseen, labels)
    rendering = Rendering(
        train_fonts=(),
        test_fonts=(args.test_soundfont,),
        train_clips=0,
        test_clips=RENDERED_CLIPS,
        clip_s=RENDERED_CLIP_S,
    )
    rendered = render_dataset(rendering, args.out / "audio", on_clip=progress_callback("rendering"))
    sets = test_sets(args.data, rendered)
    wanted = measurable(sets, labels)
    nowhere = sorted(set(labels) - {name for names in wanted.values() for name in names})
    if nowhere:
        raise ValueError(f"no test set has {MIN_CLIPS} clips of {format_names(nowhere)}")
    models = [TwoTowerModel.from_pretrained(folder).eval() for folder in (args.seen, args.unseen)]
    scores = Scores(sets, models, args.out / "work")
    found = measured(sets, wanted, scores)
    rest = measured(sets, measurable(sets, others(sets, labels, models[1])), scores)
    summary = summarise(found, rest)
    facts = [
        f"seen: {args.seen.name}, trained with the labels; unseen: {args.unseen.name}, trained without them",
        "test clips: " + ", ".join(f"{len(of.clips)} {test}" for test, of in sets.items()),
        "difference: unseen minus seen, with its 95% interval over labels, which is unreliable for few labels",
    ]
    (args.out / "unseen_labels.md").write_text(markdown(summary, found, facts), encoding="utf-8")
    draw(args.out / "unseen_labels.png", found, summary["all"])
    plain = {name: vars(of) for name, of in found.items()}
    other = {name: vars(of) for name, of in rest.items()}
    everything = {"summary": summary, "facts": facts, "labels": plain, "not_held_out": other}
    (args.out / "unseen_labels.json").write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
    print((args.out / "unseen_labels.md").read_text(encoding="utf-8"))
    print(json.dumps({"experiment": "unseen_labels", "summary": summary}))


def main() -> int:
    args = parsed()
    return exit_status("unseen_labels", lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
