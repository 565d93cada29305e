"""Hold every setting of a training run and its default, once. The command line reads its defaults from here."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from encoders.checkpoint import VOCABULARY_FILE
from retrieval.datasets.label_leakage import SYNONYM_COSINE
from retrieval.training.augment import WaveformAugment

__all__ = [
    "BCE_LOSSES",
    "CLIP_SAMPLING",
    "CONTRASTIVE_LOSSES",
    "DEFAULTS",
    "METRICS",
    "MISSING_LABELS",
    "NEGATIVES",
    "NORMALIZATIONS",
    "OBJECTIVES",
    "OPTIMIZERS",
    "PRECISIONS",
    "TAG_SAMPLING",
    "BatchConfig",
    "LossConfig",
    "OptimConfig",
    "TrainConfig",
    "train_config",
]

OBJECTIVES = ("contrastive", "bce")
NEGATIVES = ("random", "balanced", "semi-hard", "distance-weighted", "hard")
CONTRASTIVE_LOSSES = ("infonce", "triplet", "sigmoid", "decoupled")
BCE_LOSSES = ("bce-with-logits", "bce")
MISSING_LABELS = ("unknown", "negative")
CLIP_SAMPLING = ("random", "balanced")
TAG_SAMPLING = ("one", "all", "stochastic")
NORMALIZATIONS = ("none", "peak", "rms")
OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant")
PRECISIONS = ("float32", "float16", "bfloat16")
METRICS = ("map", "roc_auc", "precision_at_10", "recall_at_10", "ndcg_at_10", "median_rank")

# What depends on the objective: field names of the classes below.
DEFAULTS: dict[str, dict[str, Any]] = {
    "contrastive": {
        "backbone": "mn04",
        "loss": "infonce",
        "epochs": 20,
        "learning_rate": 3e-4,
        "optimizer": "adamw",
        "schedule": "cosine",
        "max_grad_norm": 5.0,
    },
    "bce": {
        "backbone": "conv7",
        "loss": "bce-with-logits",
        "epochs": 100,
        "learning_rate": 1e-3,
        "optimizer": "sgd",
        "schedule": "constant",
        "max_grad_norm": 0.0,
    },
}
# Settings that a resumed run may change: where it runs, how often it saves and when it stops, not what a step is.
_MAY_CHANGE = frozenset({"out", "cache_dir", "keep_cache", "device", "save_steps", "patience", "metric"})
# Settings whose content the run's identity covers (see `identity`), not their path.
_BY_CONTENT = frozenset({"init", "text"})


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """Composition of a batch.

    Attributes:
        size: clips in a batch, mined ones included.
        crop_samples: length of the crop of a clip, samples.
        clip_sampling: "random" takes every clip once an epoch; "balanced" draws a tag first, then one of its clips.
        tag_sampling: tags of a clip that become columns: "one", "all", or "stochastic" (a random number of them).
        mined_share: share of the batch that are clips drawn as negatives for the batch's tags, below 1.
        mined_tags: tags drawn as negatives for each clip.
        mixup: probability that a clip is mixed with another.
        mixup_alpha: of the Beta distribution of the shares.
        seed: of all random choices.
    """

    size: int = 32
    crop_samples: int = 160_000
    clip_sampling: str = "random"
    tag_sampling: str = "all"
    mined_share: float = 0.25
    mined_tags: int = 1
    mixup: float = 0.0
    mixup_alpha: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ValueError(f"--batch {self.size}: a batch has at least 2 clips")
        _one_of("--clip-sampling", self.clip_sampling, CLIP_SAMPLING)
        _one_of("--tags-per-clip", self.tag_sampling, TAG_SAMPLING)
        if not 0.0 <= self.mined_share < 1.0:
            raise ValueError(f"--mined-share {self.mined_share}: give a share from 0 to below 1")
        _probability("--mixup", self.mixup)

    @property
    def drawn(self) -> int:
        """Clips of a batch that are not mined negatives."""
        return max(1, self.size - round(self.size * self.mined_share))


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The loss and its constants.

    Attributes:
        name: one of `CONTRASTIVE_LOSSES` or `BCE_LOSSES`.
        margin: of triplets, of semi-hard negatives, and of the logged share of active triplets, in cosine; in log-odds
            where a distillation loss is added.
        scale: initial inverse temperature; the sigmoid loss starts from 10 and a bias of -10, as published.
    """

    name: str = DEFAULTS["contrastive"]["loss"]
    margin: float = 0.2
    scale: float = 1 / 0.07

    def __post_init__(self) -> None:
        _one_of("--loss", self.name, (*CONTRASTIVE_LOSSES, *BCE_LOSSES))
        if not (math.isfinite(self.margin) and self.margin >= 0.0):
            raise ValueError(f"--margin {self.margin}: give a finite number of at least 0")


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Optimization: duration, steps, precision, checkpoints.

    Attributes:
        epochs: passes over the clips.
        learning_rate: peak learning rate, above 0.
        optimizer: one of `OPTIMIZERS`.
        weight_decay: of matrices and kernels; gains, biases and the temperature do not decay.
        seed: of all random choices.
        schedule: "cosine" decays to 0 after a warm-up over the first 5% of the steps; "constant" stays.
        accumulate: batches whose gradients make one step.
        precision: "float16" and "bfloat16" are mixed precision; "bfloat16" also runs on the CPU.
        patience: evaluations without improvement after which training stops; 0 never stops.
        metric: the validation metric that selects the best weights, one of `METRICS`.
        save_steps: steps between checkpoints; 0 saves one every epoch.
        max_grad_norm: gradient norm clipping; 0 does not clip.
        mining_warmup: epochs with random negatives before negatives are mined; with 0 all clips are embedded first.
        device: "auto", "cpu" or "cuda".
    """

    epochs: int = DEFAULTS["contrastive"]["epochs"]
    learning_rate: float = DEFAULTS["contrastive"]["learning_rate"]
    optimizer: str = DEFAULTS["contrastive"]["optimizer"]
    weight_decay: float = 0.01
    seed: int = 0
    schedule: str = DEFAULTS["contrastive"]["schedule"]
    accumulate: int = 1
    precision: str = "float32"
    patience: int = 0
    metric: str = METRICS[0]
    save_steps: int = 0
    max_grad_norm: float = DEFAULTS["contrastive"]["max_grad_norm"]
    mining_warmup: int = 1
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.accumulate < 1:
            raise ValueError("--epochs and --accumulate must be at least 1")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"--lr {self.learning_rate}: give a learning rate above 0")
        _one_of("--optimizer", self.optimizer, OPTIMIZERS)
        _one_of("--schedule", self.schedule, SCHEDULES)
        _one_of("--precision", self.precision, PRECISIONS)
        _one_of("--metric", self.metric, METRICS)
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"--device {self.device}: auto, cpu or cuda; CUDA_VISIBLE_DEVICES chooses among GPUs")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run.

    Attributes:
        objective: "contrastive" (two towers) or "bce" (a closed-set tagger).
        backbone: a name of the registry.
        out: the model directory to write.
        negatives: one of `NEGATIVES`.
        synonym_cosine: tags whose text vectors have at least this cosine are not negatives of each other.
        missing_labels: with several data sets, whether a tag that a data set never uses is "unknown" for its clips
            (takes no part in the loss) or "negative".
        distill_weight: weight of the distillation loss, which preserves the scores of `init` for its other tags; 0 adds
            none.
        head: of the closed-set tagger.
        init: initial weights: a model directory, or a published checkpoint that `published` names.
        text: input of the text tower: a word-vector file, a model directory, or "sentence:DIR". None: that of `init`,
            or of the shipped model.
        unseen_labels: tags to exclude from training together with the tags that leak them; evaluated separately.
        chunk_s: length of a chunk in seconds. None: the backbone's own.
        crop_s: length of the crop of a clip in seconds, rounded to whole chunks. None: one segment.
        normalize: level of the clips, one of `NORMALIZATIONS`.
        max_clip_s: seconds of a clip that are decoded, from its start.
        positive_weights: bce: weigh a tag's positives as much as its negatives.
        freeze_stages: stages of the backbone that are not trained; -1 freezes all.
        spec_augment: mask bands and frames of the spectrogram.
        augment: waveform augmentation.
        cache_dir: folder in which the working folder lies; see `work_dir`. None: that of `out`.
        keep_cache: do not remove the working folder when the run ends.
    """

    objective: str
    backbone: str
    out: Path
    negatives: str = NEGATIVES[0]
    synonym_cosine: float = SYNONYM_COSINE
    missing_labels: str = MISSING_LABELS[0]
    distill_weight: float = 0.0
    head: str = "linear"
    init: Path | None = None
    published: str | None = None
    text: Path | str | None = None
    unseen_labels: tuple[str, ...] = ()
    chunk_s: float | None = None
    crop_s: float | None = None
    normalize: Literal["none", "peak", "rms"] = "none"
    max_clip_s: float = 120.0
    positive_weights: bool = False
    freeze_stages: int = 0
    spec_augment: bool = False
    augment: WaveformAugment = field(default_factory=WaveformAugment)
    batch: BatchConfig = field(default_factory=BatchConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    cache_dir: Path | None = None
    keep_cache: bool = False

    def __post_init__(self) -> None:
        _one_of("--objective", self.objective, OBJECTIVES)
        _one_of("--negatives", self.negatives, NEGATIVES)
        _one_of("--missing-labels", self.missing_labels, MISSING_LABELS)
        _one_of("--normalize", self.normalize, NORMALIZATIONS)
        for name, value in (("--crop", self.crop_s), ("--max-clip", self.max_clip_s), ("--chunk", self.chunk_s)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} {value}: give a number of seconds above 0")
        if not math.isfinite(self.synonym_cosine):
            raise ValueError(f"--synonym-cosine {self.synonym_cosine}: give a cosine; above 1 excludes no synonyms")
        if not (math.isfinite(self.distill_weight) and self.distill_weight >= 0):
            raise ValueError(f"--distill-weight {self.distill_weight}: give a finite number of at least 0")
        if self.distill_weight and (not self.contrastive or self.init is None):
            raise ValueError("--distill-weight needs a model to distil from: give --init MODEL, with two towers")
        if self.distill_weight and self.text is not None:
            raise ValueError(
                "--distill-weight cannot be combined with --text: it scores the tags of --init by its words"
            )
        fitting = CONTRASTIVE_LOSSES if self.contrastive else BCE_LOSSES
        if self.loss.name not in fitting:
            raise ValueError(
                f"--loss {self.loss.name} does not go with --objective {self.objective}: {', '.join(fitting)}"
            )

    @property
    def contrastive(self) -> bool:
        return self.objective == "contrastive"

    @property
    def work_dir(self) -> Path:
        """Folder of the run's identity, decoded audio and checkpoints: `NAME.work` for a model directory NAME."""
        out = Path(os.path.abspath(self.out)) if self.out.name in ("", "..") else self.out
        return (self.cache_dir or out.parent) / f"{out.name}.work"

    @property
    def text_source(self) -> Path | str | None:
        """The input of the text tower: `text`, or else that of two towers in `init`; None: the shipped model's."""
        if self.text is not None or self.init is None or not (self.init / VOCABULARY_FILE).is_file():
            return self.text
        return self.init

    def fixed_settings(self) -> dict[str, Any]:
        """Return the settings that a resumed run must share, as JSON values by option-like names."""
        values = asdict(self)
        nested = {name: values.pop(name) for name in ("batch", "loss", "optim")}
        flat = values | {f"{part} {name}": value for part, inner in nested.items() for name, value in inner.items()}
        return {
            name.replace("_", " "): _as_json(value)
            for name, value in flat.items()
            if name not in _BY_CONTENT and name.removeprefix("optim ") not in _MAY_CHANGE
        }


def train_config(objective: str, options: Mapping[str, Any]) -> TrainConfig:
    """Return a run's configuration from flat options; what is missing or None takes the default of its objective.

    Args:
        objective: one of `OBJECTIVES`.
        options: values by the field names of `TrainConfig`, `BatchConfig`, `OptimConfig` and, for the loss, `loss` and
            `margin`. `augment` may be a probability.

    Raises:
        ValueError: a value that is out of range; the message names the option.
    """
    _one_of("--objective", objective, OBJECTIVES)
    given = {**DEFAULTS[objective], **{name: value for name, value in options.items() if value is not None}}
    if "clip_sampling" not in given and objective == "contrastive":
        # Mined negatives follow the tags: without balance the frequent tags would take most of each batch.
        given["clip_sampling"] = "random" if given.get("negatives", NEGATIVES[0]) == "random" else "balanced"
    if isinstance(given.get("augment"), float):
        given["augment"] = WaveformAugment.of_strength(given["augment"])
    seed = {"seed": given.pop("seed")} if "seed" in given else {}
    loss = {"name": given.pop("loss")} | ({"margin": given.pop("margin")} if "margin" in given else {})
    batch = {f.name: given.pop(f.name) for f in fields(BatchConfig) if f.name in given}
    optim = {f.name: given.pop(f.name) for f in fields(OptimConfig) if f.name in given}
    return TrainConfig(
        objective=objective,
        batch=BatchConfig(**batch, **seed),
        loss=LossConfig(**loss),
        optim=OptimConfig(**optim, **seed),
        **given,
    )


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{option} {value}: choose one of {', '.join(choices)}")


def _probability(option: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{option} {value}: give a probability between 0 and 1")


def _as_json(value: Any) -> Any:
    """Return the value as JSON would give it back."""
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value
