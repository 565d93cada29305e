"""`retrieve train`: two towers by contrast, or a closed-set tagger beside them, from folders of tagged clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval.cli.output import print_note, print_warning, shown
from retrieval.cli.progress import show_progress, trainer_callback
from retrieval.label_file import read_label_file

if TYPE_CHECKING:
    from retrieval.datasets.audio import Normalization
    from retrieval.training.config import Plan
    from retrieval.training.run import RunResult

__all__ = ["train"]


def train(
    data: Annotated[list[Path], typer.Option("--data", metavar="DIR", help="Tagged clips; may be given repeatedly.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the model and its checkpoints go.")],
    objective: Annotated[
        str, typer.Option("--objective", help="contrastive (any words) or bce (a closed-set tagger).")
    ] = "contrastive",
    backbone: Annotated[
        str | None, typer.Option("--backbone", metavar="NAME", help="The network.", show_default="mn04; bce: conv7")
    ] = None,
    init: Annotated[
        Path | None, typer.Option("--init", metavar="MODEL", help="Start from a model directory or a published file.")
    ] = None,
    published: Annotated[
        str | None, typer.Option("--published", metavar="NAME", help="Which published file --init is.")
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            "--text",
            metavar="MODEL|FILE|sentence:DIR",
            help="Text encoder: word vectors, or a sentence-transformers model.",
            show_default="as --init, or the shipped model",
        ),
    ] = None,
    unseen_file: Annotated[
        Path | None,
        typer.Option("--unseen-file", metavar="FILE", help="Tags to hold out, with near-synonyms; one a line."),
    ] = None,
    negatives: Annotated[
        str, typer.Option("--negatives", help="random, balanced, semi-hard, distance-weighted or hard.")
    ] = "random",
    loss: Annotated[
        str | None,
        typer.Option("--loss", help="infonce, triplet, sigmoid, decoupled; bce-with-logits, bce.", show_default=False),
    ] = None,
    margin: Annotated[float, typer.Option("--margin", min=0.0, help="Of triplets, in cosine.")] = 0.2,
    clip_sampling: Annotated[
        str | None,
        typer.Option(
            "--clip-sampling",
            help="random, or balanced: a tag first, then a clip.",
            show_default="balanced; with random negatives and for bce random",
        ),
    ] = None,
    tags_per_clip: Annotated[
        str, typer.Option("--tags-per-clip", help="Tags asked for: one, all or stochastic.")
    ] = "all",
    mined_share: Annotated[
        float, typer.Option("--mined-share", min=0.0, max=0.9, help="Share of a batch drawn as negatives.")
    ] = 0.25,
    mining_warmup: Annotated[
        int, typer.Option("--mining-warmup", min=0, help="Epochs on random negatives; 0: the start can be mined over.")
    ] = 1,
    synonym_cosine: Annotated[
        float, typer.Option("--synonym-cosine", help="Tags so near in text are no negatives.")
    ] = 0.75,
    label_scope: Annotated[
        str, typer.Option("--label-scope", help="Of several --data: silence says no to tags of its own, or to all.")
    ] = "own",
    keep: Annotated[
        float, typer.Option("--keep", min=0.0, help="Hold what --init says of other words, with this weight.")
    ] = 0.0,
    positive_weights: Annotated[
        bool, typer.Option("--positive-weights", help="bce: a tag's positives count as much as its negatives.")
    ] = False,
    head: Annotated[str, typer.Option("--head", help="bce: linear, mlp or attention.")] = "linear",
    freeze_stages: Annotated[
        int, typer.Option("--freeze-stages", min=-1, help="Stages of the backbone that do not learn; -1: none does.")
    ] = 0,
    crop_s: Annotated[
        float | None, typer.Option("--crop", metavar="SECONDS", help="Heard of a clip each time.", show_default=False)
    ] = None,
    level: Annotated[str, typer.Option("--level", help="Normalise clips: none, peak or rms.")] = "none",
    augment: Annotated[
        float, typer.Option("--augment", min=0.0, max=1.0, help="Probability of each change of the sound.")
    ] = 0.0,
    spec_augment: Annotated[bool, typer.Option("--spec-augment", help="Mask bands and frames.")] = False,
    mixup: Annotated[float, typer.Option("--mixup", min=0.0, max=1.0, help="Probability of mixing clips.")] = 0.0,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Passes over the clips.", show_default="20; bce: 100")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=2, help="Clips a batch.")] = 32,
    accumulate: Annotated[int, typer.Option("--accumulate", min=1, help="Batches a step.")] = 1,
    lr: Annotated[float | None, typer.Option("--lr", help="Learning rate.", show_default="0.0003; bce: 0.001")] = None,
    optimiser: Annotated[
        str | None, typer.Option("--optimiser", help="adamw or sgd.", show_default="adamw; bce: sgd")
    ] = None,
    precision: Annotated[str, typer.Option("--precision", help="float32; on a GPU float16 or bfloat16.")] = "float32",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of all chance.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda; several GPUs by torchrun.")] = "auto",
    train_split: Annotated[
        list[str] | None, typer.Option("--train-split", metavar="NAME", help="Splits to learn from.")
    ] = None,
    val_split: Annotated[
        list[str] | None, typer.Option("--val-split", metavar="NAME", help="Splits to validate with.")
    ] = None,
    metric: Annotated[
        str, typer.Option("--metric", help="What is best: map, roc_auc, precision_at_10, recall_at_10 ...")
    ] = "map",
    patience: Annotated[
        int, typer.Option("--patience", min=0, help="Stop after so many epochs without a better figure; 0: never.")
    ] = 0,
    save_steps: Annotated[
        int, typer.Option("--save-steps", min=0, help="A checkpoint every so many steps; 0: every epoch.")
    ] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in --out.")] = False,
    drop_bad: Annotated[bool, typer.Option("--drop-bad", help="Leave bad rows of the data out.")] = False,
    drop_unknown_labels: Annotated[
        bool, typer.Option("--drop-unknown-labels", help="Leave labels out that no word vector fits.")
    ] = False,
    array_rate: Annotated[
        int | None, typer.Option("--array-rate", metavar="HZ", help="Sample rate of clips that are .npy arrays.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as a JSON object on the last line.")] = False,
) -> None:
    """Train a model on tagged clips.

    Examples:

      retrieve train --data DIR --out runs/mine --init MODEL --keep 1
      retrieve train --data DIR --out runs/mine --resume
      retrieve train --data DIR --out runs/tagger --objective bce
      retrieve train --data DIR --out runs/bert --text sentence:BERT_DIR

    A folder of clips has a table labels.csv (file,labels[,split]). What is
    heard best on the validation clips is kept. A stopped run goes on with
    --resume, and ends where it would have ended.
    """
    _check_installed()
    from retrieval.datasets.load import read_dataset
    from retrieval.datasets.splits import choose_splits
    from retrieval.training.augment import WaveformAugment
    from retrieval.training.batches import BatchSettings
    from retrieval.training.config import Plan
    from retrieval.training.run_settings import RunSettings
    from retrieval.training.tasks import LossSettings

    contrastive = objective != "bce"
    balanced = contrastive and negatives != "random"
    unseen = () if unseen_file is None else tuple(read_label_file(unseen_file))
    try:
        plan = Plan(
            objective=objective,
            backbone=backbone or ("mn04" if contrastive else "conv7"),
            out=out,
            negatives=negatives,
            synonym_cosine=synonym_cosine,
            label_scope=label_scope,
            keep=keep,
            head=head,
            init=init,
            published=published,
            text=text,
            unseen=unseen,
            crop_s=crop_s,
            level=_known_level(level),
            positive_weights=positive_weights,
            freeze_stages=freeze_stages,
            spec_augment=spec_augment,
            augment=WaveformAugment.of_strength(augment),
            batch=BatchSettings(
                size=batch,
                clip_sampling=clip_sampling or ("balanced" if balanced else "random"),
                tag_sampling=tags_per_clip,
                mined_share=mined_share,
                mixup=mixup,
                seed=seed,
            ),
            loss=LossSettings(name=loss or ("infonce" if contrastive else "bce-with-logits"), margin=margin),
            run=RunSettings(
                epochs=epochs or (20 if contrastive else 100),
                learning_rate=lr or (3e-4 if contrastive else 1e-3),
                optimiser=optimiser or ("adamw" if contrastive else "sgd"),
                schedule="cosine" if contrastive else "constant",
                max_grad_norm=5.0 if contrastive else 0.0,
                accumulate=accumulate,
                precision=precision,
                seed=seed,
                device=device,
                metric=_known_metric(metric),
                patience=patience,
                save_steps=save_steps,
                mining_warmup=mining_warmup,
            ),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    datasets = [read_dataset(place, drop_bad=drop_bad, array_rate_hz=array_rate) for place in data]
    for line in (line for dataset in datasets for line in dataset.dropped):
        print_warning(f"left out: {line}")
    splits = choose_splits(datasets, train=train_split or (), validation=val_split or (), seed=seed)
    for line in splits.notes:
        print_note(line)
    result = _run(plan, splits.train, splits.validation, drop_unknown=drop_unknown_labels, resume=resume)
    _print(result, as_json=as_json)


def _check_installed() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("accelerate", "sklearn") if find_spec(name) is None]
    if missing:
        raise typer.BadParameter(
            f"training needs {' and '.join(missing)}: pip install 'earmark[train]'", param_hint="retrieve train"
        )


def _known_level(level: str) -> Normalization:
    levels: dict[str, Normalization] = {"none": "none", "peak": "peak", "rms": "rms"}
    if level not in levels:
        raise ValueError(f"--level {level}: choose one of {', '.join(levels)}")
    return levels[level]


def _known_metric(metric: str) -> str:
    from retrieval.training.validation import FIGURES

    if metric not in FIGURES:
        raise ValueError(f"--metric {metric}: choose one of {', '.join(FIGURES)}")
    return metric


def _run(plan: Plan, learnt: Any, held: Any, *, drop_unknown: bool, resume: bool) -> RunResult:
    from encoders.device import no_progress_bars
    from retrieval.training.run import TrainingRun

    with no_progress_bars(), show_progress() as progress:
        try:
            run = TrainingRun(
                plan,
                learnt,
                held,
                drop_unknown=drop_unknown,
                on_clip=lambda done, total: progress.update("decoding", done, total),
                callbacks=[trainer_callback(progress)],
            )
        except (ValueError, TypeError) as error:
            if type(error) in (ValueError, TypeError):  # named errors are told by their own words
                raise typer.BadParameter(str(error)) from None
            raise
        if run.dropped:
            print_warning(f"{len(run.dropped)} labels without a word vector are left out: {', '.join(run.dropped[:5])}")
        return run.go(resume=resume)


def _print(result: RunResult, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
        return
    typer.echo(f"{result.steps} steps; validation: {_told(result.validation)}")
    if result.unseen.tags:
        near = f" and {len(result.unseen.near_synonyms)} near-synonyms" if result.unseen.near_synonyms else ""
        figures = _told(result.validation_unseen) or "none: a closed-set tagger does not know them"
        typer.echo(f"{len(result.unseen.tags)} unseen tags{near} were held out; validation on them: {figures}")
    typer.echo(f"model: {shown(str(result.out))}")


def _told(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
