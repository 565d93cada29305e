"""From a plan and clips to a trained model directory."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import TrainerCallback

from encoders.arrays import unit
from encoders.calibration import fit_calibration
from encoders.checkpoint import CONFIG_FILE
from encoders.tagger_model import TaggerModel
from encoders.two_tower import TwoTowerModel
from retrieval.datasets.base import DatasetError, TaggedClips, format_names
from retrieval.datasets.waveforms import WaveformStore
from retrieval.training.augment import SpecAugment
from retrieval.training.batches import BatchMaker, LabelTable
from retrieval.training.config import Plan, known_tags, label_table
from retrieval.training.distillation import Kept, kept_phrases
from retrieval.training.init import DEFAULT_CHUNK_S, new_tagger, new_two_towers, own_tags
from retrieval.training.loader import BatchDataset
from retrieval.training.memory_bank import EmbeddingBank
from retrieval.training.mining import Miner
from retrieval.training.run_settings import CheckpointError, last_checkpoint, training_arguments
from retrieval.training.tasks import ContrastiveLearner, TaggerLearner
from retrieval.training.text_encoder import load_phrase_encoder
from retrieval.training.trainer import LearningTrainer
from retrieval.training.validation import clip_vectors, figures, tagger_scores
from retrieval.training.zero_shot_split import Unseen, vectors_of, without_unseen

if TYPE_CHECKING:
    from encoders.text.sentence import SentenceTower
    from encoders.text.word_vectors import WordVectors

__all__ = ["RunResult", "TrainingRun"]

TRAINING_FILE = "training.json"
_GREATEST_WEIGHT = 100.0


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        out: where the model is.
        steps: how many it took.
        validation: figures of the tags that were learnt, of the weights that are kept.
        dropped_labels: labels without a vector.
        unseen: what was held out.
        validation_unseen: figures of the unseen tags; empty for a closed-set tagger, which has none for them.
    """

    out: Path
    steps: int
    validation: dict[str, float]
    dropped_labels: tuple[str, ...]
    unseen: Unseen = field(default_factory=Unseen)
    validation_unseen: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN as None."""
        values: dict[str, Any] = {
            "model": str(self.out),
            "steps": self.steps,
            "validation": _rounded(self.validation),
            "dropped_labels": list(self.dropped_labels),
        }
        if self.unseen.tags:
            values |= {"validation_unseen": _rounded(self.validation_unseen), "unseen": asdict(self.unseen)}
        return values


def _rounded(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else round(value, 6) for name, value in figures.items()}


class TrainingRun:
    """One run, ready to go. Building it decodes the audio, or finds it decoded.

    Args:
        plan: what to do.
        train, validation: clips; without validation the last weights are kept, uncalibrated.
        drop_unknown: leave labels out that have no word vector, instead of refusing them (contrastive only).
        on_clip: told of decoded clips and how many there are.
        callbacks: of the Trainer: a progress bar.

    Raises:
        DatasetError: no positives, or labels out of the vocabulary.
        AudioDecodeError: a clip cannot be read.
        ModelDirError, ValueError: weights or options that do not fit.
    """

    def __init__(
        self,
        plan: Plan,
        train: TaggedClips,
        validation: TaggedClips | None,
        *,
        drop_unknown: bool = False,
        on_clip: Callable[[int, int], None] | None = None,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        words = load_phrase_encoder(plan.words_from) if plan.contrastive or plan.unseen else None
        self.unseen = Unseen()
        if plan.unseen:
            assert words is not None
            train, self.unseen = without_unseen(
                train, validation, plan.unseen, phrases=words, synonym_cosine=plan.synonym_cosine
            )
        tags: list[str] = list(train.tags)
        self.dropped: list[str] = []
        if not plan.contrastive:
            words = None  # they have said what is a near-synonym
        if words is not None:
            tags, self.dropped = known_tags(words, tags, drop_unknown=drop_unknown)
        vectors = None if words is None else words.encode(tags)
        cosine, scope = plan.synonym_cosine, plan.label_scope
        self.labels = label_table(train, tags, vectors, synonym_cosine=cosine, label_scope=scope)
        torch.manual_seed(plan.run.seed)
        self.model: TwoTowerModel | TaggerModel
        where = {"chunk_s": plan.chunk_s, "init": plan.init, "published": plan.published}
        if words is not None:
            self.model = new_two_towers(plan.backbone, words, tag_names=tags, **where)  # type: ignore[arg-type]
        else:
            self.model = new_tagger(plan.backbone, tag_names=tags, head=plan.head, **where)  # type: ignore[arg-type]
        self.plan = plan = _with_crop(plan, self.model)
        self._truth = None if validation is None else validation.truth(tags)
        self._asked: dict[str, np.ndarray] = {}
        self._asked_truth: np.ndarray | None = None
        if words is not None and validation is not None:
            # A tag that no validation clip has cannot be measured.
            heard = [tag for tag in self.unseen.tags if tag in set(validation.tags)]
            self._asked = vectors_of(words, heard)
            self._check_asked(heard, drop_unknown=drop_unknown)
            self._asked_truth = validation.truth(list(self._asked)) if self._asked else None
        self._args = training_arguments(
            plan.run, plan.out, evaluated=validation is not None, tensorboard=_has_tensorboard()
        )
        with self._args.main_process_first():  # under torchrun one process decodes, the others find it decoded
            self._sounds = self._store(train, "train", on_clip)
            self._held = None if validation is None else self._store(validation, "validation", on_clip)
        self._kept = None
        if words is not None and vectors is not None and plan.keep:
            self._kept = self._what_is_kept(words, vectors)
        self._learner = self._make_learner(vectors)
        self._bank = EmbeddingBank(len(train), self.model.config.dim) if plan.contrastive else None
        self.trainer = self._make_trainer(list(callbacks))

    def _store(self, clips: TaggedClips, name: str, on_clip: Callable[[int, int], None] | None) -> WaveformStore:
        folder = self.plan.out / "audio" / name
        rate_hz = self.model.sample_rate_hz
        return WaveformStore.open(
            clips.clips, folder, sample_rate_hz=rate_hz, normalize=self.plan.level, on_clip=on_clip
        )

    def _what_is_kept(self, words: WordVectors | SentenceTower, vectors: np.ndarray) -> Kept:
        """Return what the model, which is still as it started, says of its own other tags; they stay its tags."""
        assert isinstance(self.model, TwoTowerModel)
        assert self.plan.init is not None
        cosine = self.plan.synonym_cosine
        phrases = kept_phrases(words, own_tags(self.plan.init), vectors, synonym_cosine=cosine)
        self.model.config.tag_names = sorted({*self.labels.tags, *phrases})
        return Kept(self.model, phrases)

    def _make_learner(self, vectors: np.ndarray | None) -> ContrastiveLearner | TaggerLearner:
        plan = self.plan
        spec = SpecAugment() if plan.spec_augment else None
        if isinstance(self.model, TwoTowerModel):
            assert vectors is not None
            return ContrastiveLearner(
                self.model,
                vectors,
                plan.loss,
                spec_augment=spec,
                freeze_stages=plan.freeze_stages,
                kept=self._kept,
                keep_weight=plan.keep,
            )
        weights = _positive_weights(self.labels) if plan.positive_weights else None
        return TaggerLearner(
            self.model, plan.loss, positive_weights=weights, spec_augment=spec, freeze_stages=plan.freeze_stages
        )

    def _make_trainer(self, callbacks: list[TrainerCallback]) -> LearningTrainer:
        plan = self.plan
        args = self._args
        miner = None
        if plan.contrastive:
            miner = Miner(plan.negatives, self.labels.has_tag, self.labels.forbidden, plan.loss.margin)
        maker = BatchMaker(
            plan.batch,
            self.labels,
            self._sounds,
            miner=miner,
            augment=plan.augment,
            process=args.process_index,
            n_processes=args.world_size,
        )
        self._mines = miner is not None and miner.needs_embeddings
        return LearningTrainer(
            self._learner,
            BatchDataset(maker, contrastive=plan.contrastive),
            args,
            bank=self._bank,
            settings=plan.run if self._mines else replace(plan.run, mining_warmup=plan.run.epochs),
            architecture=plan.architecture(self.labels.tags, len(self._sounds)),
            measure=self.measure if self._held is not None else None,
            callbacks=callbacks,
        )

    def measure(self) -> dict[str, float]:
        """Return the figures of the validation for the model as it is."""
        assert self._held is not None and self._truth is not None
        self._learner.eval()
        if isinstance(self._learner, ContrastiveLearner):
            scores = clip_vectors(self._learner.model, self._held) @ self._learner.tag_vectors().T
        else:
            scores = tagger_scores(self._learner.model, self._held)
        return figures(scores, self._truth, self.labels.tags)

    def measure_unseen(self) -> dict[str, float]:
        """Return the figures of the unseen tags, over all clips of the validation; none where none can be asked for."""
        if not isinstance(self._learner, ContrastiveLearner) or self._held is None or self._asked_truth is None:
            return {}
        self._learner.eval()
        asked = self._learner.tag_vectors(np.stack(list(self._asked.values())))
        return figures(clip_vectors(self._learner.model, self._held) @ asked.T, self._asked_truth, tuple(self._asked))

    def _check_asked(self, heard: Sequence[str], *, drop_unknown: bool) -> None:
        lacking = [tag for tag in heard if tag not in self._asked]
        if lacking and not drop_unknown:
            raise DatasetError(
                f"unseen tags out of the vocabulary: {format_names(lacking)}; "
                "give other words with --text, or leave such labels out with --drop-unknown-labels"
            )
        self.dropped += lacking

    def go(self, *, resume: bool = False) -> RunResult:
        """Train, or go on from the newest checkpoint, and write the model directory.

        Raises:
            CheckpointError: there is a run in ``out`` that was not asked to be resumed, there is none to resume, or it
                is of another architecture.
        """
        out = self.plan.out
        checkpoint = last_checkpoint(out)
        if not resume and (checkpoint is not None or (out / CONFIG_FILE).exists()):
            raise CheckpointError(f"{out} holds a run already: go on with --resume, or take another --out")
        if resume and checkpoint is None:
            raise CheckpointError(f"{out} has no checkpoint to resume: leave --resume out")
        if checkpoint is None and self._mines and not self.plan.run.mining_warmup:
            self._embed_clips()
        try:
            done = self.trainer.train() if checkpoint is None else self.trainer.resume(checkpoint)
        finally:
            self.trainer.batches.close()
        self.trainer.load_best()
        result = RunResult(
            out=out,
            steps=int(done.global_step),
            validation=self.measure() if self._held is not None else {},
            dropped_labels=tuple(self.dropped),
            unseen=self.unseen,
            validation_unseen=self.measure_unseen(),
        )
        if self.trainer.is_world_process_zero():
            self._write(result)
        return result

    def _embed_clips(self) -> None:
        """Let the first epoch mine over what the starting model makes of the clips."""
        assert self._bank is not None
        assert isinstance(self.model, TwoTowerModel)
        self.model.eval()
        self._bank.clips[:] = unit(clip_vectors(self.model, self._sounds))

    def _write(self, result: RunResult) -> None:
        self._learner.eval()
        # Where scores are held, what they mean is held too.
        calibrated = self._held is not None and not self.plan.keep
        if isinstance(self._learner, ContrastiveLearner) and calibrated:
            assert self._held is not None
            assert self._truth is not None
            calibration = fit_calibration(
                clip_vectors(self._learner.model, self._sounds),
                clip_vectors(self._learner.model, self._held),
                self._learner.tag_vectors(),
                self._truth,
                seed=self.plan.run.seed,
            )
            self._learner.model.calibration.set(calibration)
        self.model.save_pretrained(result.out)
        settings = {
            name: value for name, value in asdict(self.plan).items() if name not in ("out", "init", "text", "unseen")
        }
        record = {
            **result.to_dict(),
            "settings": settings,
            "clips": len(self._sounds),
            "tags": list(self.labels.tags),
            "start": _training_of(self.plan.init),
        }
        del record["model"]  # a directory may be moved
        (result.out / TRAINING_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _training_of(init: Path | None) -> Any:
    """Return what a model directory says of its own training; None where it says nothing."""
    if init is None:
        return None
    try:
        return json.loads((init / TRAINING_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _with_crop(plan: Plan, model: TwoTowerModel | TaggerModel) -> Plan:
    """Return the plan with the length of a crop in samples: whole chunks."""
    default = 2 if plan.crop_s is None and plan.contrastive and plan.backbone in DEFAULT_CHUNK_S else 1
    chunks = default if plan.crop_s is None else max(1, round(plan.crop_s / model.chunk_s))
    return replace(plan, batch=replace(plan.batch, crop_samples=chunks * model.chunk_samples))


def _positive_weights(labels: LabelTable) -> np.ndarray:
    """Return how many negatives a tag has for each positive [shape=(n_tags,)], at most 100."""
    positives = labels.has_tag.sum(0)
    return np.minimum((len(labels.has_tag) - positives) / np.maximum(positives, 1), _GREATEST_WEIGHT)


def _has_tensorboard() -> bool:
    from importlib.util import find_spec

    return find_spec("tensorboard") is not None
