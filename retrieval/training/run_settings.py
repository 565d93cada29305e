"""How a run goes: its settings, the Trainer's arguments that follow from them, its checkpoints."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import TrainingArguments

__all__ = [
    "ARCHITECTURE_FILE",
    "OPTIMISERS",
    "PRECISIONS",
    "CheckpointError",
    "RunSettings",
    "last_checkpoint",
    "training_arguments",
]

ARCHITECTURE_FILE = "architecture.json"
_CHECKPOINTS = "checkpoints"
PRECISIONS = ("float32", "float16", "bfloat16")
OPTIMISERS = ("adamw", "sgd")


class CheckpointError(ValueError):
    """A checkpoint that this run cannot go on from; the message says why."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How long and by which steps.

    Attributes:
        epochs, learning_rate, optimiser, weight_decay, seed: as named.
        schedule: "cosine" falls to 0 after a rise over the first 5% of the steps; "constant" does not change.
        accumulate: batches whose gradients make one step.
        precision: "float16" and "bfloat16" are mixed precision.
        patience: evaluations without a better figure after which training stops; 0 never stops.
        metric: which figure of the validation says what is best.
        save_steps: a checkpoint every so many steps; 0 makes one every epoch.
        max_grad_norm: gradients are cut to this norm; 0 leaves them.
        mining_warmup: epochs on random negatives before any are mined; with 0 the clips are embedded first.
        device: "auto", "cpu" or "cuda".
    """

    epochs: int = 20
    learning_rate: float = 3e-4
    optimiser: str = "adamw"
    weight_decay: float = 0.01
    seed: int = 0
    schedule: str = "cosine"
    accumulate: int = 1
    precision: str = "float32"
    patience: int = 0
    metric: str = "map"
    save_steps: int = 0
    max_grad_norm: float = 5.0
    mining_warmup: int = 1
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.accumulate < 1:
            raise ValueError("--epochs and --accumulate are 1 or more")
        if not self.learning_rate > 0:
            raise ValueError(f"--lr {self.learning_rate}: a learning rate is positive")
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"--optimiser {self.optimiser}: choose one of {', '.join(OPTIMISERS)}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"--precision {self.precision}: choose one of {', '.join(PRECISIONS)}")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"--device {self.device}: auto, cpu or cuda; CUDA_VISIBLE_DEVICES chooses among GPUs")
        on_gpu = self.device != "cpu" and torch.cuda.is_available()
        if self.device == "cuda" and not on_gpu:
            raise ValueError("--device cuda: torch finds no GPU here")
        if self.precision != "float32" and not on_gpu:
            raise ValueError(f"--precision {self.precision} needs a GPU: leave it out")


def training_arguments(settings: RunSettings, out: Path, *, evaluated: bool, tensorboard: bool) -> TrainingArguments:
    """Return what the Trainer is told; checkpoints go to ``out/checkpoints``."""
    args = TrainingArguments(
        output_dir=str(out / _CHECKPOINTS),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        lr_scheduler_type=settings.schedule,
        warmup_steps=0.05 if settings.schedule == "cosine" else 0,
        gradient_accumulation_steps=settings.accumulate,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        fp16=settings.precision == "float16",
        bf16=settings.precision == "bfloat16",
        use_cpu=settings.device == "cpu",
        eval_strategy="epoch" if evaluated else "no",
        save_strategy="steps" if settings.save_steps else "epoch",
        save_steps=settings.save_steps or 500,
        save_total_limit=2,
        logging_strategy="epoch",
        metric_for_best_model=settings.metric if evaluated else None,
        greater_is_better=settings.metric != "median_rank",
        restore_callback_states_from_checkpoint=True,
        report_to=["tensorboard"] if tensorboard else [],
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=False,
    )
    args._n_gpu = min(1, args.n_gpu)  # several GPUs by torchrun, not by threads of one process
    return args


def last_checkpoint(out: Path) -> Path | None:
    """Return the newest whole checkpoint of a run; what a kill left half-written does not count."""

    def whole(folder: Path) -> bool:
        try:
            # The Trainer writes this file last.
            return "global_step" in json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False

    found = [p for p in (out / _CHECKPOINTS).glob("checkpoint-*") if p.name.rpartition("-")[2].isdecimal() and whole(p)]
    return max(found, key=lambda p: int(p.name.rpartition("-")[2]), default=None)
