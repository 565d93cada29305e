"""Compare a closed-set tagger (BCE) with contrastive retrieval by every kind of negatives.

    python -m scripts.experiments.baseline_vs_retrieval --data DIR --init FILE --out DIR
    python -m scripts.experiments.baseline_vs_retrieval --data DIR --init FILE --out DIR --negatives hard --seeds 0

--data holds the packs orchestra_notes and lofi_notes (training) and instruments_freesound (test), each with its
labels.csv. --init is the published checkpoint efficientat-mn04 (see encoders.backbones.published). Clips rendered from
soundfonts are added to the training set; clips of a soundfont without training clips are the second test set.

All methods start from the same network with the same frozen stages, train on the same clips and seen tags with the
same optimizer (AdamW), and see the same number of clips. A quarter of the clips of a contrastive batch, and some of its
tags, are negatives; only their choice differs. The learning rate of the baseline, and that of all contrastive runs, is
the best of --rates on a fifth of the training recordings, which only that search holds out (contrastive runs: with
random negatives). The weights after the last step are tested. Seeds change initial weights and batches, not the data.

Unseen tags occur neither as names nor as labels in these runs. The network was trained on AudioSet before, which has
most instruments, and the word vectors on text; what must generalise is the mapping from words to sounds. The baseline
has no output for unseen tags.

--out receives the rendered audio, one file for each finished run (which is not run again), results.md, .json and .png.
The last line of output is the result as JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.experiments.comparison.console import RunProgress, exit_status, log, progress_callback
from scripts.experiments.comparison.data import Material
from scripts.experiments.comparison.options import parse_arguments, prepare
from scripts.experiments.comparison.report import BASELINE, comparisons, draw, markdown, summarise
from scripts.experiments.comparison.runs import (
    BACKBONE,
    DEVELOPMENT,
    PUBLISHED,
    development_of,
    epochs_of,
    objective_of,
    one_run,
)

RATE_SEED = 1000


def finished(path: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """Return the record of a finished run; None if there is none.

    Raises:
        ValueError: its settings differ.
    """
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    other = [name for name, value in settings.items() if record["settings"].get(name) != value]
    if other:
        raise ValueError(f"{path} was run with other {', '.join(other)}; give the same options or another --out")
    return record


class Runs:
    """The runs in a folder: finished ones are read, missing ones are run."""

    def __init__(self, args: argparse.Namespace, settings: dict[str, Any]) -> None:
        self._args, self._settings = args, settings
        self._folder: Path = args.out / "runs"
        self._folder.mkdir(parents=True, exist_ok=True)

    def all(self, title: str, wanted: Sequence[tuple[str, int, float]], material: Material) -> list[dict[str, Any]]:
        """Return the records of (method, seed, learning rate), in this order."""
        settings = {**self._settings, "clips": len(material.train)}
        paths = [self._folder / f"{title}_{method}_seed{seed}_lr{rate:g}.json" for method, seed, rate in wanted]
        records = [finished(path, settings) for path in paths]
        to_do = [number for number, record in enumerate(records) if record is None]
        progress = RunProgress(
            sum(epochs_of(wanted[number][0], self._args, len(material.train))[1] for number in to_do)
        )
        for count, number in enumerate(to_do):
            method, seed, rate = wanted[number]
            name = f"{title} {count + 1} of {len(to_do)}, {method}, seed {seed}, learning rate {rate:g}"
            record = one_run(
                method,
                seed,
                rate,
                self._args,
                material,
                callback=progress.begin(name),
                on_clip=progress_callback("decoding"),
            )
            record |= {"settings": settings}
            partial = paths[number].with_suffix(".partial")
            partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
            partial.replace(paths[number])
            records[number] = record
            shown = {
                part: {key: value and round(value, 3) for key, value in found.items()}
                for part, found in record["tests"].items()
            }
            log(f"{name}: {record['clips_per_s']} clips/s, {json.dumps(shown)}")
        return [record for record in records if record is not None]


def choose_rates(runs: Runs, methods: Sequence[str], rates: Sequence[float], material: Material) -> dict[str, Any]:
    """Return, for each objective, the mAP of every learning rate on the development clips, and the best rate.

    If there is one rate, it is used without a search.
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
    """Write table, numbers and plot; return the last line of output."""
    summary = summarise(records)
    chances = {part: {k: v for r in records for k, v in r["chance"][part].items()} for part in material.tests}
    seen = sorted({record["clips_heard"] for record in records})
    facts = [
        f"{len(material.train)} training clips with {len(material.train.tags)} seen tags; test clips: "
        + ", ".join(f"{len(clips)} {name}" for name, clips in material.tests.items()),
        f"{BACKBONE} from {PUBLISHED}, the first {args.freeze_stages} stages frozen; AdamW; "
        f"contrastive loss: {args.loss}; a run sees {' to '.join(map(str, seen[:: max(1, len(seen) - 1)]))} clips",
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
        "comparisons": {part: [vars(one) for one in found] for part, found in comparisons(summary).items()},
        "summary": plain,
    }
    (out / "results.json").write_text(
        json.dumps({**result, "facts": facts, "chance": chances}, indent=2) + "\n", encoding="utf-8"
    )
    return result


def run(args: argparse.Namespace) -> None:
    """Run the experiment."""
    material, settings = prepare(args)
    methods = [*([] if args.no_baseline else [BASELINE]), *args.negatives]
    runs = Runs(args, settings)
    rates = choose_rates(runs, methods, args.rates, material)
    # Seed by seed, so that there are early results for all methods.
    wanted = [(method, seed, rates[objective_of(method)]["best"]) for seed in args.seeds for method in methods]
    records = runs.all("run", wanted, material)
    records.sort(key=lambda record: methods.index(record["method"]))
    result = write_results(args.out, records, rates, material, args)
    print((args.out / "results.md").read_text(encoding="utf-8"))
    print(json.dumps(result))


def main() -> int:
    args = parse_arguments(__doc__)
    return exit_status("baseline_vs_retrieval", lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
