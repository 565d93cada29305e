"""The training loop: transformers' Trainer around our batches, mining, evaluation and checkpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from retrieval.training.loader import BatchDataset, train_loader
from retrieval.training.memory_bank import EmbeddingBank
from retrieval.training.mining import collapse
from retrieval.training.run_settings import ARCHITECTURE_FILE, CheckpointError, RunSettings
from retrieval.training.tasks import ContrastiveLearner

__all__ = ["LearningTrainer"]

_BEST, _WEIGHTS = "best.safetensors", "model.safetensors"


class _EachEpoch(TrainerCallback):
    """Turns the loader to the epoch that begins, and renews what is mined over."""

    def __init__(self, trainer: LearningTrainer) -> None:
        self._trainer = trainer

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._trainer.begin_epoch(state.global_step)


class LearningTrainer(Trainer):
    """Trains a learner; see ``learners``. What it is told beyond the Trainer's own arguments:

    Args:
        learner: the model with its loss.
        batches: what it learns from.
        bank: embeddings to mine over; None for a tagger.
        settings: of the run.
        architecture: plain values that a checkpoint must share with a run that resumes it.
        measure: figures of the validation, by name, of the model as it is; None: no validation.
    """

    loss_is_scaled_for_ga = False

    def __init__(
        self,
        learner: nn.Module,
        batches: BatchDataset,
        args: TrainingArguments,
        *,
        bank: EmbeddingBank | None,
        settings: RunSettings,
        architecture: dict[str, Any],
        measure: Callable[[], dict[str, float]] | None = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        self.batches, self.bank, self.settings = batches, bank, settings
        self.architecture, self.measure = architecture, measure
        self._watched: dict[str, list[Tensor]] = {"active_triplets": [], "collapse": [], "drift": []}
        stopping = [EarlyStoppingCallback(settings.patience)] if settings.patience and measure else []
        super().__init__(
            model=learner,
            args=args,
            train_dataset=batches,
            eval_dataset=batches if measure else None,
            callbacks=[_EachEpoch(self), *stopping, *(callbacks or [])],
        )
        self.learner = learner
        self.remove_callback(PrinterCallback)

    # -- what the Trainer asks for ---------------------------------------------------------------------------------

    def get_train_dataloader(self) -> Any:
        return train_loader(self.batches)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Gains, biases and the temperature do not decay."""
        if self.optimizer is None:
            learnt = [p for p in self.learner.parameters() if p.requires_grad]
            groups = [
                {"params": [p for p in learnt if p.ndim > 1], "weight_decay": self.settings.weight_decay},
                {"params": [p for p in learnt if p.ndim <= 1], "weight_decay": 0.0},
            ]
            kind = torch.optim.SGD if self.settings.optimiser == "sgd" else torch.optim.AdamW
            self.optimizer = kind(groups, lr=self.settings.learning_rate)
        return self.optimizer

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        clips = inputs.pop("clips", None)
        outputs = model(**inputs)
        if self.bank is not None and clips is not None:
            audio = outputs["audio"]
            n = len(audio)
            # The mean cosine of all pairs of the batch, from the length of the sum of unit vectors.
            self._watched["collapse"].append((audio.sum(0).square().sum() - n) / (n * (n - 1)))
            self._watched["active_triplets"].append(outputs["active"])
            if "drift" in outputs:
                self._watched["drift"].append(outputs["drift"])
            self.bank.update(clips.cpu().numpy(), audio.cpu().numpy())
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            for name, values in self._watched.items():
                if values:
                    logs[name] = round(float(torch.stack(values).nanmean()), 6)
                    values.clear()
        super().log(logs, start_time)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        assert self.measure is not None
        self.learner.eval()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.measure().items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        before = self.state.best_metric
        better = super()._determine_best_metric(metrics, trial)
        if self.args.should_save and self.state.best_metric != before:
            self._save_weights(self._folder / _BEST)
        return better

    @property
    def _folder(self) -> Path:
        return Path(str(self.args.output_dir))

    # -- mining ----------------------------------------------------------------------------------------------------

    def begin_epoch(self, step: int) -> None:
        """Turn to the epoch that this step is in; at its first step renew what negatives are mined over."""
        steps_an_epoch = math.ceil(len(self.batches) / self.settings.accumulate)
        epoch, within = divmod(step, steps_an_epoch)
        if self.bank is not None and within == 0 and epoch >= self.settings.mining_warmup:
            self._share_bank()
            assert isinstance(self.learner, ContrastiveLearner)
            self.bank.freeze(self.learner.tag_vectors(), centre=self.learner.centre)
            spread = collapse(self.bank.known, rng=np.random.default_rng([self.settings.seed, 3, epoch]))
            self.log({"bank_collapse": spread})
        self.batches.begin(epoch, None if self.bank is None else self.bank.frozen)

    def _share_bank(self) -> None:
        """Under torchrun each process has embedded other clips: all get the mean of what is known of each."""
        if self.bank is None or self.args.world_size <= 1:
            return
        clips = torch.from_numpy(self.bank.clips).to(self.args.device)
        torch.distributed.all_reduce(clips)
        self.bank.clips = nn.functional.normalize(clips, dim=1).cpu().numpy()

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def resume(self, checkpoint: Path) -> Any:
        """Go on from a checkpoint.

        Raises:
            CheckpointError: it is of another architecture, objective or data.
        """
        try:
            theirs = json.loads((checkpoint / ARCHITECTURE_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise CheckpointError(f"{checkpoint} is no checkpoint of `retrieve train`, or damaged") from None
        for name, ours in self.architecture.items():
            if theirs.get(name) != ours:
                raise CheckpointError(
                    f"{checkpoint} is of another run: its {name} is {_short(theirs.get(name))}, here {_short(ours)}: "
                    "give the same options, or another --out"
                )
        if self.bank is not None:
            self.bank.load(checkpoint)
        return self.train(resume_from_checkpoint=str(checkpoint))

    def load_best(self) -> bool:
        """Load the weights that did best on the validation; False where there are none."""
        path = self._folder / _BEST
        if self.measure is None or not path.is_file():
            return False
        self.learner.load_state_dict(load_file(path, device="cpu"), strict=True)
        return True

    def _save_weights(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {name: value.contiguous() for name, value in self.learner.state_dict().items()}
        partial = path.with_name(f".{path.name}.partial")
        save_file(state, partial, metadata={"format": "pt"})
        partial.replace(path)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # Not the Trainer's own way: it would leave a pickle of the arguments behind.
        folder = Path(output_dir) if output_dir else self._folder
        folder.mkdir(parents=True, exist_ok=True)
        self._save_weights(folder / _WEIGHTS)
        (folder / ARCHITECTURE_FILE).write_text(json.dumps(self.architecture, indent=2) + "\n", encoding="utf-8")
        if self.bank is not None:
            self.bank.save(folder)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(value)} values)"
