"""A closed-set tagger by BCE beside retrieval by contrast with every kind of negatives; one JSON line at the end.

    python -m scripts.experiments.baseline_vs_retrieval --data DIR --init FILE --out DIR
    python -m scripts.experiments.baseline_vs_retrieval --data DIR --init FILE --out DIR --negatives hard --seeds 0

DIR of data holds the packs ``orchestra_notes``, ``lofi_notes`` (learnt) and ``instruments_freesound`` (a test set),
each with its ``labels.csv``; FILE is the published checkpoint ``efficientat-mn04`` (see
``encoders.backbones.published``). Pieces rendered from soundfonts, of several instruments or of drums, are learnt too;
others, from a soundfont that no training clip has, are the other test set.

All methods start from the same network with the same stages frozen, learn from the same clips and seen tags with the
same optimiser (AdamW), and hear as many clips. Every fourth clip and a share of the tags of a contrastive batch are its
negatives; only how these are chosen differs. The learning rate of the baseline, and the one of all contrastive runs, is
the best of --rates for a fifth of the training recordings, which that search alone keeps from training (contrastive
runs: with random negatives). The last weights are tested. Seeds change initial weights and batches, not the data.

What "unseen" means: the tag has neither name nor label in these runs. The network was trained on AudioSet before, which
has most instruments, and the word vectors on text; only the way from one to the other must generalise. The baseline
cannot be asked for such tags.

--out keeps the rendered audio, a file for each finished run (those are not run again), results.md, .json and .png.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.utils.logging import disable_progress_bar

from encoders.checkpoint import DEFAULT_MODEL_DIR
from encoders.text.word_vectors import WordVectors
from retrieval.training.config import CONTRASTIVE_LOSSES
from retrieval.training.mining import NEGATIVES
from scripts.experiments.comparison.data import UNSEEN, Material, Rendering, gather, render_dataset
from scripts.experiments.comparison.report import BASELINE, draw, markdown, summarise, verdicts
from scripts.experiments.comparison.runs import (
    BACKBONE,
    DEVELOPMENT,
    PUBLISHED,
    development_of,
    epochs_of,
    objective_of,
    one_run,
)
from scripts.experiments.console import status_of, tell, telling

SOUNDFONTS = Path("/usr/share/sounds/sf2")  # where Debian's packages put them
TRAIN_FONTS = (SOUNDFONTS / "FluidR3_GM.sf2", SOUNDFONTS / "sf_GMbank.sf2")
TEST_FONTS = (SOUNDFONTS / "TimGM6mb.sf2",)
REPORT_EVERY_S = 20.0
RATE_SEED = 1000


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the instrument packs")
    parser.add_argument("--init", type=Path, required=True, help=f"the published checkpoint {PUBLISHED}")
    parser.add_argument("--out", type=Path, required=True, help="where runs and results go")
    parser.add_argument("--negatives", nargs="*", choices=NEGATIVES, default=list(NEGATIVES), metavar="KIND")
    parser.add_argument("--no-baseline", action="store_true", help="leave the BCE baseline out")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--loss", choices=CONTRASTIVE_LOSSES, default="infonce")
    parser.add_argument("--train-soundfont", type=Path, action="append", metavar="FILE", help="repeatable")
    parser.add_argument("--test-soundfont", type=Path, action="append", metavar="FILE", help="repeatable")
    parser.add_argument("--train-clips", type=int, default=800, help="rendered (default: %(default)s)")
    parser.add_argument("--test-clips", type=int, default=400, help="rendered (default: %(default)s)")
    parser.add_argument("--clip-s", type=float, default=5.0, help="seconds heard of a clip (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=4, help="of the contrastive runs (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="clips a batch (default: %(default)s)")
    parser.add_argument(
        "--rates",
        nargs="+",
        type=float,
        default=[1e-3, 3e-3, 1e-2, 3e-2],
        metavar="RATE",
        help="learning rates to choose from",
    )
    parser.add_argument("--mining-warmup", type=int, default=1, help="epochs on random ones (default: %(default)s)")
    parser.add_argument("--freeze-stages", type=int, default=7, help="of the network (default: %(default)s)")
    parser.add_argument("--unseen", nargs="+", default=list(UNSEEN), metavar="TAG", help="(default: ten instruments)")
    parser.add_argument("--synonym-cosine", type=float, default=0.75, help="near-synonyms have it (default: 0.75)")
    parser.add_argument("--min-clips", type=int, default=8, help="that a learnt tag has (default: %(default)s)")
    parser.add_argument("--text", type=Path, help="words (default: the shipped model's; nothing else of it is used)")
    parser.add_argument("--threads", type=int, help="of torch (default: its own choice)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser.parse_args(argv)


class Clock:
    """Tells on stderr, now and then, how far all runs are and how long they still take."""

    def __init__(self, total_steps: int) -> None:
        self._total, self._before, self._began_s, self._told_s = total_steps, 0, time.perf_counter(), 0.0

    def begin(self, title: str) -> TrainerCallback:
        clock, before = self, self._before

        class Telling(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                clock._before = before + state.global_step
                clock._tell(f"{title}: step {state.global_step} of {state.max_steps}")

        return Telling()

    def _tell(self, line: str) -> None:
        now_s = time.perf_counter()
        if now_s - self._told_s >= REPORT_EVERY_S:
            self._told_s = now_s
            left_s = (now_s - self._began_s) / self._before * (self._total - self._before)
            tell(f"{line}; all runs: about {left_s / 60:.0f} min left")


def settings_of(args: argparse.Namespace, rendering: Rendering) -> dict[str, Any]:
    """Return what every run in a folder must share."""
    names = ("epochs", "batch", "mining_warmup", "freeze_stages", "unseen", "synonym_cosine", "min_clips", "loss")
    return {
        **{name: getattr(args, name) for name in names},
        "init": [args.init.name, args.init.stat().st_size],
        "text": str(args.text or "shipped"),
        "rendered": rendering.described(),
    }


def finished(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Return the record of a finished run, if there is one.

    Raises:
        ValueError: it is of other settings.
    """
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    other = [name for name, value in settings.items() if record["settings"].get(name) != value]
    if other:
        raise ValueError(f"{path} was run with other {', '.join(other)}: give the same options, or another --out")
    return record


class Runs:
    """The runs in a folder: those that are finished are read, the others are made."""

    def __init__(self, args: argparse.Namespace, settings: dict[str, Any]) -> None:
        self._args, self._settings = args, settings
        self._folder: Path = args.out / "runs"
        self._folder.mkdir(parents=True, exist_ok=True)

    def all(self, title: str, wanted: Sequence[tuple[str, int, float]], material: Material) -> list[dict[str, Any]]:
        """Return the records of methods with seeds and learning rates, in their order."""
        settings = {**self._settings, "clips": len(material.train)}
        paths = [self._folder / f"{title}_{method}_seed{seed}_lr{rate:g}.json" for method, seed, rate in wanted]
        records = [finished(path, settings) for path in paths]
        to_do = [number for number, record in enumerate(records) if record is None]
        clock = Clock(sum(epochs_of(wanted[number][0], self._args, len(material.train))[1] for number in to_do))
        for count, number in enumerate(to_do):
            method, seed, rate = wanted[number]
            name = f"{title} {count + 1} of {len(to_do)}, {method}, seed {seed}, learning rate {rate:g}"
            record = one_run(
                method, seed, rate, self._args, material, callback=clock.begin(name), on_clip=telling("decoding")
            )
            record |= {"settings": settings}
            partial = paths[number].with_suffix(".partial")
            partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            partial.replace(paths[number])
            records[number] = record
            told = {
                part: {key: value and round(value, 3) for key, value in found.items()}
                for part, found in record["tests"].items()
            }
            tell(f"{name}: {record['clips_per_s']} clips/s, {json.dumps(told)}")
        return [record for record in records if record is not None]


def choose_rates(runs: Runs, methods: Sequence[str], rates: Sequence[float], material: Material) -> dict[str, Any]:
    """Return for each objective the mAP of every learning rate on the development clips, and the best rate.

    A single rate is taken as it is.
    """
    if len(rates) == 1:
        return {objective_of(method): {"best": rates[0], "map": {}} for method in methods}
    tried = {objective_of(method): BASELINE if method == BASELINE else "random" for method in methods}
    wanted = [(method, RATE_SEED, rate) for rate in rates for method in tried.values()]
    found = runs.all("rate", wanted, development_of(material))
    chosen = {}
    for objective in tried:
        maps = {
            record["learning_rate"]: record["tests"][DEVELOPMENT]["seen_map"]
            for record in found
            if objective_of(record["method"]) == objective
        }
        chosen[objective] = {"best": max(maps, key=lambda rate: maps[rate]), "map": maps}
    return chosen


def write_results(
    out: Path, records: list[dict[str, Any]], rates: dict[str, Any], material: Material, args: argparse.Namespace
) -> dict[str, Any]:
    """Write the table, the figures and the picture; return the last line of output."""
    summary = summarise(records)
    chances = {part: {k: v for r in records for k, v in r["chance"][part].items()} for part in material.tests}
    heard = sorted({record["clips_heard"] for record in records})
    facts = [
        f"{len(material.train)} training clips with {len(material.train.tags)} seen tags; test clips: "
        + ", ".join(f"{len(clips)} {name}" for name, clips in material.tests.items()),
        f"{BACKBONE} from {PUBLISHED}, the first {args.freeze_stages} stages frozen; AdamW; "
        f"contrastive loss: {args.loss}; a run hears {' to '.join(map(str, heard[:: max(1, len(heard) - 1)]))} clips",
        *(
            f"learning rate of {objective} runs: {of['best']:g}; development mAP: "
            + (", ".join(f"{found:.3f} at {rate:g}" for rate, found in of["map"].items()) or "not measured")
            for objective, of in rates.items()
        ),
        f"seeds {', '.join(map(str, args.seeds))}: mean ± standard deviation",
        f"unseen: {', '.join(material.unseen)}; held out with them: "
        + (", ".join(tag for tag in material.removed if tag not in material.unseen) or "nothing"),
    ]
    (out / "results.md").write_text(markdown(summary, facts, chances), encoding="utf-8")
    draw(out / "results.png", summary, chances)
    plain = {
        part: {method: {key: spread.to_dict() for key, spread in found.items()} for method, found in methods.items()}
        for part, methods in summary.items()
    }
    result = {
        "experiment": "baseline_vs_retrieval",
        "runs": len(records),
        "rates": rates,
        "clips_per_s": statistics.median(record["clips_per_s"] for record in records),
        "verdicts": verdicts(summary),
        "summary": plain,
    }
    (out / "results.json").write_text(
        json.dumps({**result, "facts": facts, "chance": chances}, indent=2) + "\n", encoding="utf-8"
    )
    return result


def material_of(args: argparse.Namespace) -> tuple[Material, dict[str, Any]]:
    """Return the clips of all runs, rendered if need be, and what every run in the folder must share."""
    disable_progress_bar()
    if args.threads:
        torch.set_num_threads(args.threads)
    if not args.init.is_file():
        raise FileNotFoundError(f"--init {args.init}: there is no such file; it is the checkpoint {PUBLISHED}")
    rendering = Rendering(
        train_fonts=tuple(args.train_soundfont or TRAIN_FONTS),
        test_fonts=tuple(args.test_soundfont or TEST_FONTS),
        train_clips=args.train_clips,
        test_clips=args.test_clips,
        clip_s=args.clip_s,
    )
    settings = settings_of(args, rendering)
    rendered = render_dataset(rendering, args.out / "audio", on_clip=telling("rendering"))
    material = gather(
        rendered,
        args.data,
        WordVectors.load(args.text or DEFAULT_MODEL_DIR),
        unseen=args.unseen,
        synonym_cosine=args.synonym_cosine,
        at_least=args.min_clips,
    )
    return material, settings


def run(args: argparse.Namespace) -> None:
    """The whole experiment."""
    material, settings = material_of(args)
    methods = [*([] if args.no_baseline else [BASELINE]), *args.negatives]
    runs = Runs(args, settings)
    rates = choose_rates(runs, methods, args.rates, material)
    # Seed by seed, so that a comparison stands early.
    wanted = [(method, seed, rates[objective_of(method)]["best"]) for seed in args.seeds for method in methods]
    records = runs.all("run", wanted, material)
    records.sort(key=lambda record: methods.index(record["method"]))
    result = write_results(args.out, records, rates, material, args)
    print((args.out / "results.md").read_text(encoding="utf-8"))
    print(json.dumps(result))


def main() -> int:
    args = parsed()
    return status_of("baseline_vs_retrieval", lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
