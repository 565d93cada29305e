"""Run a training: check what it is, prepare labels, model and audio, train, calibrate, save."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import TrainerCallback

from encoders.tagger_model import TaggerModel
from encoders.text.phrases import phrase_vectors
from encoders.two_tower import TwoTowerModel
from retrieval.datasets.base import DatasetError, TaggedClips, format_names
from retrieval.datasets.waveforms import WaveformStore, cache_size, check_free_space
from retrieval.training.batches import BatchMaker
from retrieval.training.config import TrainConfig
from retrieval.training.distillation import DistillationTarget, distilled_phrases
from retrieval.training.init import build_tagger_model, build_two_tower, model_tags
from retrieval.training.labels import LabelTable, known_tags, label_table
from retrieval.training.loader import BatchDataset
from retrieval.training.mining import Miner
from retrieval.training.modules import ContrastiveModule, TaggerModule
from retrieval.training.run_identity import AUDIO_FOLDER, claim_run, finish_run, release_run, run_identity
from retrieval.training.spec_augment import SpecAugment
from retrieval.training.tasks import ContrastiveTask, TaggerTask, Task, validation_metrics
from retrieval.training.text_encoder import load_phrase_encoder
from retrieval.training.trainer import TaskTrainer, last_checkpoint, training_arguments
from retrieval.training.unseen_labels import UnseenSplit, exclude_unseen_tags

if TYPE_CHECKING:
    from encoders.text.sentence import SentenceTower
    from encoders.text.word_vectors import WordVectors

__all__ = ["RunResult", "TrainingRun"]

TRAINING_FILE = "training.json"
_GREATEST_WEIGHT = 100.0
_NOT_RECORDED = frozenset({"out", "init", "text", "cache_dir", "unseen_labels"})  # paths, and what stands in the result
_STATES_PER_PARAMETER = 3  # a weight and two moments of the optimizer
_CHECKPOINTS_KEPT = 2


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        out: the model directory.
        steps: number of steps.
        validation: validation metrics of the saved weights for the trained tags; empty without validation.
        dropped_labels: labels without a text vector, which were left out.
        unseen: what was excluded from training.
        validation_unseen: metrics for the unseen tags; empty for a closed-set tagger, which cannot score them.
    """

    out: Path
    steps: int
    validation: dict[str, float]
    dropped_labels: tuple[str, ...]
    unseen: UnseenSplit = field(default_factory=UnseenSplit)
    validation_unseen: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; NaN as None."""
        values: dict[str, Any] = {
            "model": str(self.out),
            "steps": self.steps,
            "validation": _rounded(self.validation),
            "dropped_labels": list(self.dropped_labels),
        }
        if self.unseen.tags:
            values |= {"validation_unseen": _rounded(self.validation_unseen), "unseen": asdict(self.unseen)}
        return values


@dataclass(frozen=True)
class _Labels:
    """What is trained and evaluated, before any audio is read.

    Attributes:
        train: the training clips, without unseen labels.
        table: their labels.
        encoder: the text tower's input; None for a closed-set tagger.
        vectors: unit vectors of the tags at that input [shape=(n_tags, input_dim)]; None for a closed-set tagger.
        dropped: labels without a vector.
        unseen: what was excluded.
        unseen_vectors: unit vectors of the unseen tags that some validation clip has, by tag.
    """

    train: TaggedClips
    table: LabelTable
    encoder: WordVectors | SentenceTower | None
    vectors: np.ndarray | None
    dropped: tuple[str, ...]
    unseen: UnseenSplit
    unseen_vectors: dict[str, np.ndarray]


class TrainingRun:
    """A run that is ready to train. Building it checks the run's identity, then decodes the audio or finds it decoded.

    Args:
        config: its settings.
        train: training clips.
        validation: validation clips; without them the last weights are saved, not calibrated.
        resume: continue the interrupted run of the same identity.
        drop_unknown: leave out labels without a text vector instead of refusing them (contrastive only).
        on_clip: called after each decoded clip with (done, total).
        on_note: called with lines for the user, such as the size of the cache, before it is written.
        callbacks: of the Trainer.

    Raises:
        CheckpointError: the folders hold another run or a finished one; nothing has been changed.
        DatasetError: no positives, labels out of the vocabulary, or too little free disk.
        AudioDecodeError: a clip cannot be decoded.
        ModelDirError, ValueError: weights or options that do not fit.
    """

    def __init__(
        self,
        config: TrainConfig,
        train: TaggedClips,
        validation: TaggedClips | None,
        *,
        resume: bool = False,
        drop_unknown: bool = False,
        on_clip: Callable[[int, int], None] | None = None,
        on_note: Callable[[str], None] | None = None,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        self._on_clip, self._on_note = on_clip, on_note or (lambda line: None)
        self._args = training_arguments(config.optim, config.work_dir, evaluated=validation is not None)
        identity = run_identity(config, train, validation, n_processes=self._args.world_size)
        with self._args.main_process_first():
            claim_run(config, identity, resume=resume, writes=self._args.process_index == 0)
        try:
            self._labels = _prepare_labels(config, train, validation, drop_unknown=drop_unknown)
            self.model = self._build_model(config)
            self.config = config = _with_crop_length(config, self.model)
            self._truth = None if validation is None else validation.truth(self._labels.table.tags)
            self._unseen_truth = None
            if validation is not None and self._labels.unseen_vectors:
                self._unseen_truth = validation.truth(list(self._labels.unseen_vectors))
            with self._args.main_process_first():  # of several processes one decodes, the others find it decoded
                self._announce(validation)
                self._sounds = self._store(self._labels.train, "train")
                self._held_out = None if validation is None else self._store(validation, "validation")
            self.task: Task = self._build_task()
            self.trainer = self._build_trainer(list(callbacks))
        except Exception:
            if not resume and self._args.process_index == 0:
                release_run(config)  # nothing was trained: the next start need not be a resumption
            raise

    @property
    def labels(self) -> LabelTable:
        """The labels of the training clips."""
        return self._labels.table

    @property
    def dropped(self) -> tuple[str, ...]:
        """Labels without a text vector, which were left out."""
        return self._labels.dropped

    def _build_model(self, config: TrainConfig) -> TwoTowerModel | TaggerModel:
        torch.manual_seed(config.optim.seed)
        tags, encoder = list(self._labels.table.tags), self._labels.encoder
        start: dict[str, Any] = {"chunk_s": config.chunk_s, "init": config.init, "published": config.published}
        if encoder is not None:
            return build_two_tower(config.backbone, encoder, tag_names=tags, **start)
        return build_tagger_model(config.backbone, tag_names=tags, head=config.head, **start)

    def _announce(self, validation: TaggedClips | None) -> None:
        """Announce the size of what will be written, and check that the disk has the space."""
        clips = (*self._labels.train.clips, *(() if validation is None else validation.clips))
        rate_hz, longest_s = self.model.sample_rate_hz, self.config.max_clip_s
        audio = cache_size(clips, sample_rate_hz=rate_hz, max_clip_s=longest_s)
        n_trained = sum(p.numel() for p in self.model.parameters())
        checkpoints = 4 * n_trained * (_STATES_PER_PARAMETER * _CHECKPOINTS_KEPT + 1)
        check_free_space(self.config.work_dir, audio.n_bytes + checkpoints)
        end = "kept (--keep-cache)" if self.config.keep_cache else "removed when the run ends"
        self._on_note(
            f"{self.config.work_dir}: up to {audio.n_bytes / 1e6:,.0f} MB of decoded audio and "
            f"{checkpoints / 1e6:,.0f} MB of checkpoints, {end}"
        )
        if audio.n_cut:
            self._on_note(f"{audio.n_cut} clips are cut to their first {longest_s:g} s (--max-clip)")

    def _store(self, clips: TaggedClips, name: str) -> WaveformStore:
        return WaveformStore.open(
            clips.clips,
            self.config.work_dir / AUDIO_FOLDER / name,
            sample_rate_hz=self.model.sample_rate_hz,
            normalize=self.config.normalize,
            max_clip_s=self.config.max_clip_s,
            on_clip=self._on_clip,
        )

    def _build_task(self) -> Task:
        config = self.config
        spec_augment = SpecAugment() if config.spec_augment else None
        if isinstance(self.model, TaggerModel):
            weights = _positive_weights(self.labels) if config.positive_weights else None
            return TaggerTask(
                TaggerModule(
                    self.model,
                    config.loss,
                    positive_weights=weights,
                    spec_augment=spec_augment,
                    freeze_stages=config.freeze_stages,
                )
            )
        assert self._labels.vectors is not None  # two towers have text vectors
        module = ContrastiveModule(
            self.model,
            self._labels.vectors,
            config.loss,
            spec_augment=spec_augment,
            freeze_stages=config.freeze_stages,
            target=self._distillation_target(self.model, self._labels.vectors),
            distill_weight=config.distill_weight,
        )
        return ContrastiveTask(module, len(self._sounds))

    def _distillation_target(self, model: TwoTowerModel, vectors: np.ndarray) -> DistillationTarget | None:
        """Return the scores of the still untrained model to preserve; the model keeps their tags."""
        if not self.config.distill_weight or self.config.init is None or self._labels.encoder is None:
            return None
        phrases = distilled_phrases(
            self._labels.encoder,
            model_tags(self.config.init),
            vectors,
            synonym_cosine=self.config.synonym_cosine,
        )
        model.config.tag_names = sorted({*self.labels.tags, *phrases})
        return DistillationTarget(model, phrases)

    def _build_trainer(self, callbacks: list[TrainerCallback]) -> TaskTrainer:
        config, args = self.config, self._args
        miner = None
        if config.contrastive:
            miner = Miner(config.negatives, self.labels.has_tag, self.labels.excluded, config.loss.margin)
        maker = BatchMaker(
            config.batch,
            self.labels,
            self._sounds,
            miner=miner,
            augment=config.augment,
            process=args.process_index,
            n_processes=args.world_size,
        )
        self._mines = miner is not None and miner.needs_embeddings
        return TaskTrainer(
            self.task,
            BatchDataset(maker, contrastive=config.contrastive),
            args,
            config=config.optim,
            mining_warmup=config.optim.mining_warmup if self._mines else config.optim.epochs,
            measure=self.measure if self._held_out is not None else None,
            callbacks=callbacks,
        )

    def measure(self) -> dict[str, float]:
        """Return the validation metrics of the current weights for the trained tags."""
        assert self._held_out is not None and self._truth is not None
        return validation_metrics(self.task.scores(self._held_out), self._truth, self.labels.tags)

    def measure_unseen(self) -> dict[str, float]:
        """Return the metrics for the unseen tags, over all validation clips; empty where there are none."""
        if self._held_out is None or self._unseen_truth is None:
            return {}
        vectors = np.stack(list(self._labels.unseen_vectors.values()))
        scores = self.task.unseen_scores(self._held_out, vectors)
        if scores is None:
            return {}
        return validation_metrics(scores, self._unseen_truth, list(self._labels.unseen_vectors))

    def run(self) -> RunResult:
        """Train, from the newest checkpoint if the run is resumed, and write the model directory."""
        checkpoint = last_checkpoint(self.config.work_dir)
        if checkpoint is None and self._mines and not self.config.optim.mining_warmup:
            self.task.fill_bank(self._sounds)
        try:
            state = self.trainer.train() if checkpoint is None else self.trainer.resume(checkpoint)
        finally:
            self.trainer.batches.close()
        self.trainer.load_best()
        result = RunResult(
            out=self.config.out,
            steps=int(state.global_step),
            validation=self.measure() if self._held_out is not None else {},
            dropped_labels=self.dropped,
            unseen=self._labels.unseen,
            validation_unseen=self.measure_unseen(),
        )
        if self.trainer.is_world_process_zero():
            self._save(result)
        return result

    def _save(self, result: RunResult) -> None:
        if self._held_out is not None and self._truth is not None:
            self.task.calibrate(self._sounds, self._held_out, self._truth, seed=self.config.optim.seed)
        self.task.save(result.out)
        record = {
            **result.to_dict(),
            "settings": {name: value for name, value in asdict(self.config).items() if name not in _NOT_RECORDED},
            "clips": len(self._sounds),
            "tags": list(self.labels.tags),
            "start": _training_record(self.config.init),
        }
        del record["model"]  # a directory may be moved
        (result.out / TRAINING_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        if not self.config.keep_cache:
            finish_run(self.config)


def _prepare_labels(
    config: TrainConfig, train: TaggedClips, validation: TaggedClips | None, *, drop_unknown: bool
) -> _Labels:
    encoder = load_phrase_encoder(config.text_source) if config.contrastive or config.unseen_labels else None
    unseen = UnseenSplit()
    if encoder is not None and config.unseen_labels:
        train, unseen = exclude_unseen_tags(
            train, validation, config.unseen_labels, encoder=encoder, synonym_cosine=config.synonym_cosine
        )
    tags: list[str] = list(train.tags)
    dropped: list[str] = []
    vectors = None
    unseen_vectors: dict[str, np.ndarray] = {}
    if not config.contrastive:
        encoder = None  # it has found the leaking labels; a closed-set tagger needs no words
    if encoder is not None:
        tags, dropped = known_tags(encoder, tags, drop_unknown=drop_unknown)
        vectors = encoder.encode(tags)
        # A tag that no validation clip has cannot be evaluated.
        present = [] if validation is None else [tag for tag in unseen.tags if tag in set(validation.tags)]
        unseen_vectors = phrase_vectors(encoder, present)
        unknown = [tag for tag in present if tag not in unseen_vectors]
        if unknown and not drop_unknown:
            raise DatasetError(
                f"unseen tags out of the vocabulary: {format_names(unknown)}; choose another vocabulary with "
                "--text, or leave such labels out with --drop-unknown-labels"
            )
        dropped += unknown
    table = label_table(
        train, tags, vectors, synonym_cosine=config.synonym_cosine, missing_labels=config.missing_labels
    )
    return _Labels(train, table, encoder, vectors, tuple(dropped), unseen, unseen_vectors)


def _with_crop_length(config: TrainConfig, model: TwoTowerModel | TaggerModel) -> TrainConfig:
    """Return the configuration with the length of a crop in samples: whole chunks, by default those of a segment."""
    if config.crop_s is not None:
        chunks = max(1, round(config.crop_s / model.chunk_s))
    else:
        chunks = model.segment_chunks if isinstance(model, TwoTowerModel) else 1
    return replace(config, batch=replace(config.batch, crop_samples=chunks * model.chunk_samples))


def _positive_weights(labels: LabelTable) -> np.ndarray:
    """Return the number of negatives of each tag for each positive [shape=(n_tags,)], at most 100."""
    positives = labels.has_tag.sum(0)
    return np.minimum((len(labels.has_tag) - positives) / np.maximum(positives, 1), _GREATEST_WEIGHT)


def _training_record(init: Path | None) -> Any:
    """Return the record of the training of a model directory; None where it has none."""
    if init is not None:
        with suppress(OSError, ValueError):
            return json.loads((init / TRAINING_FILE).read_text(encoding="utf-8"))
    return None


def _rounded(metrics: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else round(value, 6) for name, value in metrics.items()}
