"""What one training run is: data, tags, objective and all settings, checked before anything is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from encoders.checkpoint import VOCABULARY_FILE
from retrieval.datasets.audio import Normalization
from retrieval.datasets.base import DatasetError, TaggedClips, format_names
from retrieval.training.augment import WaveformAugment
from retrieval.training.batches import BatchSettings, LabelTable, near_synonyms
from retrieval.training.mining import NEGATIVES
from retrieval.training.run_settings import RunSettings
from retrieval.training.tasks import BCE_LOSSES, CONTRASTIVE_LOSSES, LossSettings
from retrieval.training.text_encoder import PhraseEncoder

__all__ = ["LABEL_SCOPES", "OBJECTIVES", "Plan", "known_tags", "label_table"]

OBJECTIVES = ("contrastive", "bce")
LABEL_SCOPES = ("own", "all")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run.

    Attributes:
        objective: "contrastive" (two towers) or "bce" (a closed-set tagger).
        backbone: a name of the registry.
        out: where the model goes, and checkpoints and decoded audio below it.
        negatives: one of ``mining.NEGATIVES``.
        synonym_cosine: tags whose text vectors have this cosine or more are no negatives of each other.
        label_scope: of several datasets: "own" takes a clip's silence about a tag for evidence only where its dataset
            uses the tag, "all" always.
        keep: weight of staying with what ``init`` says of other words; see ``keep.Kept``. 0: it may forget.
        head: of the tagger.
        init: weights to start from; ``published`` names them if they are a published checkpoint.
        text: what the text tower reads: a file of words, a model directory for its words, or "sentence:" and a
            transformers text encoder; see ``text_encoder.load_phrase_encoder``. None: as ``init``.
        unseen: tags held out from the labels, with their near-synonyms; the validation has them apart.
        chunk_s, crop_s: what the network hears at once, and what of a clip a batch has; whole chunks. None: the
            backbone's own length, and one chunk (two of mn04's and mn10's).
        level: of the clips; see ``retrieval.datasets.audio.normalized``.
        positive_weights: let a tag's positives count as much as its negatives.
        freeze_stages: of the backbone; -1 freezes all.
    """

    objective: str
    backbone: str
    out: Path
    negatives: str = "random"
    synonym_cosine: float = 0.75
    label_scope: str = "own"
    keep: float = 0.0
    head: str = "linear"
    init: Path | None = None
    published: str | None = None
    text: Path | str | None = None
    unseen: tuple[str, ...] = ()
    chunk_s: float | None = None
    crop_s: float | None = None
    level: Normalization = "none"
    positive_weights: bool = False
    freeze_stages: int = 0
    spec_augment: bool = False
    augment: WaveformAugment = field(default_factory=WaveformAugment)
    batch: BatchSettings = field(default_factory=BatchSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    run: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise ValueError(f"--objective {self.objective}: choose one of {', '.join(OBJECTIVES)}")
        if self.negatives not in NEGATIVES:
            raise ValueError(f"--negatives {self.negatives}: choose one of {', '.join(NEGATIVES)}")
        if self.label_scope not in LABEL_SCOPES:
            raise ValueError(f"--label-scope {self.label_scope}: choose one of {', '.join(LABEL_SCOPES)}")
        self._check_keep()
        fitting = CONTRASTIVE_LOSSES if self.objective == "contrastive" else BCE_LOSSES
        if self.loss.name not in fitting:
            raise ValueError(
                f"--loss {self.loss.name} does not go with --objective {self.objective}: {', '.join(fitting)}"
            )

    def _check_keep(self) -> None:
        if self.keep < 0:
            raise ValueError(f"--keep {self.keep}: a weight is not negative")
        if self.keep and (not self.contrastive or self.init is None):
            raise ValueError("--keep holds what a model says of other words: it goes with --init MODEL, by contrast")
        if self.keep and self.text is not None:
            raise ValueError("--keep does not go with --text: what is held is said in the words of --init")

    @property
    def contrastive(self) -> bool:
        return self.objective == "contrastive"

    @property
    def words_from(self) -> Path | str | None:
        """What the text tower reads: ``text``, or else the text side of two towers in ``init``; None: the shipped one.

        A closed-set tagger or a published file has no words.
        """
        if self.text is not None or self.init is None or not (self.init / VOCABULARY_FILE).is_file():
            return self.text
        return self.init

    def architecture(self, tags: Sequence[str], n_clips: int) -> dict[str, Any]:
        """Return, as plain values, what a run and the checkpoint that it resumes must share."""
        values: dict[str, Any] = {
            "objective": self.objective,
            "backbone": self.backbone,
            "tags": list(tags),
            "clips": n_clips,
            "negatives": self.negatives,
            "synonym cosine": self.synonym_cosine,
            "label scope": self.label_scope,
            "keep": self.keep,
            "chunk": self.chunk_s,
            "level": self.level,
            "positive weights": self.positive_weights,
            "frozen stages": self.freeze_stages,
            "spec-augment": self.spec_augment,
            "augmentation": asdict(self.augment),
            "batches": asdict(self.batch),
            "loss": asdict(self.loss),
        }
        if self.unseen:
            values |= {"unseen tags": sorted(self.unseen)}
        if not self.contrastive:
            values |= {"head": self.head}
        # How long it runs, where, and how often it saves may change; what the steps are may not.
        may_change = ("device", "save_steps", "patience", "metric", "precision")
        values["run"] = {name: value for name, value in asdict(self.run).items() if name not in may_change}
        return _plain(values)


def _plain(value: Any) -> Any:
    """Return what JSON would give back."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def known_tags(words: PhraseEncoder, tags: Sequence[str], *, drop_unknown: bool) -> tuple[list[str], list[str]]:
    """Divide tags into those with a vector and those without.

    Raises:
        DatasetError: there are unknown ones and they are not to be dropped, or there is no known one; they are named.
    """
    known: list[str] = []
    unknown: list[str] = []
    for tag in tags:
        # Not only in the vocabulary: a vector of zeros points nowhere.
        try:
            (known if words.encode([tag]).any() else unknown).append(tag)
        except ValueError:
            unknown.append(tag)
    if unknown and (not drop_unknown or not known):
        listed = format_names([repr(tag) for tag in unknown])
        raise DatasetError(
            f"{len(unknown)} of {len(tags)} labels are out of the vocabulary: {listed}; "
            "give other words with --text, or leave such labels out with --drop-unknown-labels"
        )
    if len(known) < 2:
        raise DatasetError(f"there is one label only, {known[0]!r}: contrast needs two or more")
    return known, unknown


def label_table(
    clips: TaggedClips,
    tags: Sequence[str],
    vectors: np.ndarray | None,
    *,
    synonym_cosine: float,
    label_scope: str = "own",
) -> LabelTable:
    """Return which clip has which tag, and what is no safe negative.

    With the tags' text vectors, near-synonyms are none; nor, by the scope "own", is a tag that no clip of the same
    dataset has: a label that one dataset alone uses tells datasets apart, not sounds.
    """
    alike = None if vectors is None else near_synonyms(vectors, threshold=synonym_cosine)
    table = LabelTable.of(tags, clips.truth(tags), alike)
    if label_scope == "all":
        return table
    names = np.array([clip.dataset for clip in clips.clips])
    foreign = np.zeros_like(table.forbidden)
    for name in np.unique(names):
        rows = names == name
        foreign[rows] = ~table.has_tag[rows].any(0)
    return replace(table, forbidden=table.forbidden | foreign)
