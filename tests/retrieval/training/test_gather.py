"""Two processes train as one process with their joint batch does: losses, gradients, memory bank, a resumed run."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, multiprocessing
from torch.nn.parallel import DistributedDataParallel
from training_helpers import TAGS, tagged_clips, words_file
from transformers import TrainerCallback

from encoders.text.word_vectors import WordVectors
from retrieval.training.config import CONTRASTIVE_LOSSES, BatchConfig, LossConfig, OptimConfig, TrainConfig
from retrieval.training.gather import gather_rows
from retrieval.training.init import build_two_tower
from retrieval.training.modules import ContrastiveModule
from retrieval.training.run import TrainingRun
from retrieval.training.run_identity import CheckpointError

CLIPS_OF = ((0, 1, 2, 3, 4), (5, 6, 7))  # the processes' clips, not equally many
TAGS_OF = ((0, 1, 2), (1, 3))


class Killed(RuntimeError):
    """Stands for the end of the process."""


class KillAt(TrainerCallback):
    """Ends a run in the middle of a step."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= 2:
            raise Killed


def contrastive(words: Path, loss: str) -> ContrastiveModule:
    """The same weights in every process, and no statistics of the batch, which each process takes of its own clips."""
    torch.manual_seed(0)
    encoder = WordVectors.load(words)
    model = build_two_tower("mn04", encoder, tag_names=list(TAGS), chunk_s=0.5)
    return ContrastiveModule(model, encoder.encode(TAGS), LossConfig(name=loss)).eval()


def joint_batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    targets = torch.eye(4).repeat(2, 1)
    targets[0] = torch.tensor([0.8, 0.2, 0.0, 0.0])  # a mixture
    return {
        "waveforms": 0.1 * torch.randn(8, 16_000, generator=generator),
        "targets": targets,
        "unknown": (torch.rand(8, 4, generator=generator) < 0.2) & (targets == 0),
        "seed": torch.tensor(0),
    }


def gradients(module: torch.nn.Module, batch: dict[str, Tensor], tags: tuple[int, ...]) -> dict[str, Tensor]:
    loss = module(**batch, tags=torch.tensor(tags))["loss"]
    loss.backward()
    found = {name.removeprefix("module."): p.grad for name, p in module.named_parameters() if p.grad is not None}
    return {**found, "loss": loss.detach()}


def training_run(folder: Path, name: str, *, resume: bool = False, callbacks: tuple[Any, ...] = ()) -> TrainingRun:
    clips = tagged_clips(folder / "clips")
    config = TrainConfig(
        objective="contrastive",
        backbone="mn04",
        out=folder / name,
        text=folder / "words.safetensors",
        chunk_s=0.5,
        crop_s=0.5,
        negatives="hard",
        batch=BatchConfig(size=2, seed=3, mixup=0.5),
        optim=OptimConfig(epochs=2, seed=3, device="cpu", save_steps=1, mining_warmup=1),
        keep_cache=True,
    )
    return TrainingRun(config, clips.of_split("train"), clips.of_split("val"), resume=resume, callbacks=callbacks)


def process(rank: int, port: int, folder: Path) -> None:
    """One of the two processes, started as torchrun starts them."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", timeout=timedelta(seconds=120))
    rows = list(CLIPS_OF[rank])
    for loss in CONTRASTIVE_LOSSES:
        module = DistributedDataParallel(contrastive(folder / "words.safetensors", loss))
        batch = {name: value if value.ndim == 0 else value[rows] for name, value in joint_batch().items()}
        save_file(gradients(module, batch, TAGS_OF[rank]), folder / f"{loss}-{rank}.safetensors")
    gathered = gather_rows(torch.full((rank + 1, 2), float(rank)))
    assert gathered.tolist() == [[0, 0], [1, 1], [1, 1]]
    training_run(folder, "whole").run()
    with pytest.raises(Killed):
        training_run(folder, "parts", callbacks=(KillAt(),)).run()
    with pytest.raises(Killed):
        training_run(folder, "interrupted", callbacks=(KillAt(),)).run()
    done = training_run(folder, "parts", resume=True)
    done.run()
    assert done.task.bank is not None and done.task.bank.snapshot is not None
    state = {f"weights {name}": value.contiguous() for name, value in done.task.module.state_dict().items()}
    state |= {"clips": torch.from_numpy(done.task.bank.clips), "mined": torch.from_numpy(done.task.bank.snapshot[0])}
    save_file(state, folder / f"run-{rank}.safetensors")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left."""
    folder = tmp_path_factory.mktemp("processes")
    words_file(folder)
    tagged_clips(folder / "clips")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(process, args=(port, folder), nprocs=2)
    return folder


@pytest.mark.parametrize("loss", CONTRASTIVE_LOSSES)
def test_loss_and_gradients_are_those_of_the_joint_batch(folder: Path, loss: str) -> None:
    tags = tuple(sorted({*TAGS_OF[0], *TAGS_OF[1]}))
    expected = gradients(contrastive(folder / "words.safetensors", loss), joint_batch(), tags)
    assert any(value.abs().max() > 1e-3 for name, value in expected.items() if name.startswith("model.audio"))
    for rank in (0, 1):
        found = load_file(folder / f"{loss}-{rank}.safetensors")
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name], value, rtol=1e-4, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}"
            )


def test_the_processes_keep_one_memory_bank_and_one_model(folder: Path) -> None:
    first, second = (load_file(folder / f"run-{rank}.safetensors") for rank in (0, 1))
    assert first["clips"].any(1).all() and first["mined"].any(1).all()
    assert torch.equal(first["clips"], second["clips"]) and torch.equal(first["mined"], second["mined"])
    # The first process alone calibrates the model, and saves it.
    trained = [name for name in first if name.startswith("weights") and ".calibration." not in name]
    assert len(trained) > 100 and all(torch.equal(first[name], second[name]) for name in trained)


def test_a_resumed_run_of_two_processes_is_the_uninterrupted_one(folder: Path) -> None:
    first, second = (load_file(folder / name / "model.safetensors") for name in ("whole", "parts"))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_another_number_of_processes_cannot_resume_a_run(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"its number of processes \(torchrun\) is 2, here 1"):
        training_run(folder, "interrupted", resume=True)
