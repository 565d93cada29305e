"""Train with the transformers Trainer, on batches with mined negatives, and keep the best weights."""

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

from retrieval.training.config import OptimConfig
from retrieval.training.gather import gather_rows
from retrieval.training.loader import BatchDataset, train_loader
from retrieval.training.mining import collapse
from retrieval.training.modules import ContrastiveModule
from retrieval.training.run_identity import CHECKPOINTS_FOLDER
from retrieval.training.tasks import Task

__all__ = ["TaskTrainer", "last_checkpoint", "training_arguments"]

_BEST_FILE, _WEIGHTS_FILE = "best.safetensors", "model.safetensors"


def training_arguments(config: OptimConfig, work_dir: Path, *, evaluated: bool) -> TrainingArguments:
    """Return the Trainer's arguments; checkpoints go to `work_dir/checkpoints`.

    Raises:
        ValueError: the device or the precision is not available here.
    """
    _check_device(config)
    args = TrainingArguments(
        output_dir=str(work_dir / CHECKPOINTS_FOLDER),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        lr_scheduler_type=config.schedule,
        warmup_steps=0.05 if config.schedule == "cosine" else 0,
        gradient_accumulation_steps=config.accumulate,
        max_grad_norm=config.max_grad_norm,
        seed=config.seed,
        fp16=config.precision == "float16",
        bf16=config.precision == "bfloat16",
        use_cpu=config.device == "cpu",
        eval_strategy="epoch" if evaluated else "no",
        save_strategy="steps" if config.save_steps else "epoch",
        save_steps=config.save_steps or 500,
        save_total_limit=2,
        logging_strategy="epoch",
        metric_for_best_model=config.metric if evaluated else None,
        greater_is_better=config.metric != "median_rank",
        restore_callback_states_from_checkpoint=True,
        report_to=["tensorboard"] if _has_tensorboard() else [],
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=False,
    )
    args._n_gpu = min(1, args.n_gpu)  # several GPUs by torchrun, not by threads of one process
    return args


def _check_device(config: OptimConfig) -> None:
    on_gpu = config.device != "cpu" and torch.cuda.is_available()
    if config.device == "cuda" and not on_gpu:
        raise ValueError("--device cuda: torch finds no GPU here")
    if config.precision == "float16" and not on_gpu:
        raise ValueError("--precision float16 needs a GPU: leave it out, or use bfloat16")


def _has_tensorboard() -> bool:
    from importlib.util import find_spec

    return find_spec("tensorboard") is not None


def last_checkpoint(work_dir: Path) -> Path | None:
    """Return the newest complete checkpoint of a run; one that was interrupted while being written does not count."""

    def complete(folder: Path) -> bool:
        try:
            # The Trainer writes this file last.
            return "global_step" in json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False

    def step(folder: Path) -> str:
        return folder.name.rpartition("-")[2]

    found = [p for p in (work_dir / CHECKPOINTS_FOLDER).glob("checkpoint-*") if step(p).isdecimal() and complete(p)]
    return max(found, key=lambda p: int(step(p)), default=None)


class _EpochCallback(TrainerCallback):
    """Set the epoch of the batches, renew the vectors to mine over, and make up a missed validation."""

    def __init__(self, trainer: TaskTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._trainer.validate_if_missed(state)

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._trainer.begin_epoch(state.global_step)


class TaskTrainer(Trainer):
    """Train a task.

    Args:
        task: what is trained.
        batches: its batches.
        args: of the Trainer.
        config: the settings that `args` follow from.
        mining_warmup: epochs before negatives are mined.
        measure: returns the validation metrics of the current weights; None: no validation.
        callbacks: of the Trainer.
    """

    loss_is_scaled_for_ga = False

    def __init__(
        self,
        task: Task,
        batches: BatchDataset,
        args: TrainingArguments,
        *,
        config: OptimConfig,
        mining_warmup: int,
        measure: Callable[[], dict[str, float]] | None = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        self.task, self.batches, self.config, self.measure = task, batches, config, measure
        self._mining_warmup = mining_warmup
        self._logged: dict[str, list[Tensor]] = {"active_triplets": [], "collapse": [], "distillation": []}
        stopping = [EarlyStoppingCallback(config.patience)] if config.patience and measure else []
        super().__init__(
            model=task.module,
            args=args,
            train_dataset=batches,
            eval_dataset=batches if measure else None,
            callbacks=[_EpochCallback(self), *stopping, *(callbacks or [])],
        )
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> Any:
        return train_loader(self.batches)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Create the optimizer; gains, biases and the temperature do not decay."""
        if self.optimizer is None:
            trained = [p for p in self.task.module.parameters() if p.requires_grad]
            groups = [
                {"params": [p for p in trained if p.ndim > 1], "weight_decay": self.config.weight_decay},
                {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
            ]
            kind = torch.optim.SGD if self.config.optimizer == "sgd" else torch.optim.AdamW
            self.optimizer = kind(groups, lr=self.config.learning_rate)
        return self.optimizer

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        clips = inputs.pop("clips", None)
        outputs = model(**inputs)
        if self.task.bank is not None and clips is not None:
            # The clips of all processes, so that every process mines over the same vectors.
            audio, clips = gather_rows(outputs["audio"]), gather_rows(clips)
            n = len(audio)
            # The mean cosine of all pairs of the batch, from the length of the sum of unit vectors.
            self._logged["collapse"].append((audio.sum(0).square().sum() - n) / (n * (n - 1)))
            self._logged["active_triplets"].append(outputs["active"])
            if "distillation" in outputs:
                self._logged["distillation"].append(outputs["distillation"])
            self.task.bank.update(clips.cpu().numpy(), audio.cpu().numpy())
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            for name, values in self._logged.items():
                if values:
                    logs[name] = round(float(torch.stack(values).nanmean()), 6)
                    values.clear()
        super().log(logs, start_time)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        assert self.measure is not None
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.measure().items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        before = self.state.best_metric
        better = super()._determine_best_metric(metrics, trial)
        if self.args.should_save and self.state.best_metric != before:
            self._save_weights(self._folder / _BEST_FILE)
        return better

    @property
    def _folder(self) -> Path:
        return Path(str(self.args.output_dir))

    def begin_epoch(self, step: int) -> None:
        """Set the epoch of a step; at its first step renew the vectors that negatives are mined over."""
        steps_an_epoch = math.ceil(len(self.batches) / self.config.accumulate)
        epoch, within = divmod(step, steps_an_epoch)
        bank, module = self.task.bank, self.task.module
        if bank is None or not isinstance(module, ContrastiveModule):
            self.batches.begin(epoch, None)
            return
        if within == 0 and epoch >= self._mining_warmup:
            bank.take_snapshot(module.tag_vectors(), centre=module.centre)
            mean_cosine = collapse(bank.known, rng=np.random.default_rng([self.config.seed, 3, epoch]))
            self.log({"bank_collapse": mean_cosine})
        self.batches.begin(epoch, bank.snapshot)

    def validate_if_missed(self, state: TrainerState) -> None:
        """Validate a checkpoint that was saved at the end of an epoch, before the validation of that epoch."""
        steps_an_epoch = math.ceil(len(self.batches) / self.config.accumulate)
        validated = any(entry["step"] == state.global_step for entry in state.log_history if "eval_map" in entry)
        if self.measure is not None and state.global_step and state.global_step % steps_an_epoch == 0 and not validated:
            self._determine_best_metric(self.evaluate(), trial=None)

    def resume(self, checkpoint: Path) -> Any:
        """Continue from a checkpoint of the same run."""
        if self.task.bank is not None:
            self.task.bank.load(checkpoint)
        return self.train(resume_from_checkpoint=str(checkpoint))

    def load_best(self) -> bool:
        """Load the weights with the best validation metric; False where there are none."""
        path = self._folder / _BEST_FILE
        if self.measure is None or not path.is_file():
            return False
        self.task.module.load_state_dict(load_file(path, device="cpu"), strict=True)
        return True

    def _save_weights(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {name: value.contiguous() for name, value in self.task.module.state_dict().items()}
        partial = path.with_name(f".{path.name}.partial")
        save_file(state, partial, metadata={"format": "pt"})
        partial.replace(path)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # Not the Trainer's own method, which also pickles the arguments.
        folder = Path(output_dir) if output_dir else self._folder
        folder.mkdir(parents=True, exist_ok=True)
        self._save_weights(folder / _WEIGHTS_FILE)
        if self.task.bank is not None:
            self.task.bank.save(folder)
