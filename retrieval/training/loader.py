"""Load batches as tensors, prepared ahead by a thread while a step runs.

A thread, not worker processes: decoded audio is mapped, mining is one matrix product that releases the interpreter
lock, and the mined vectors change every epoch, so that processes would have to be started again or sent them.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from retrieval.training.batches import Batch, BatchMaker

__all__ = ["BatchDataset", "train_loader"]


class BatchDataset(Dataset[dict[str, Tensor]]):
    """The batches of the current epoch by number; the next ones are prepared while one is used.

    Attributes:
        epoch: the current epoch.
        vectors: the vectors that its negatives are mined over.
    """

    def __init__(self, maker: BatchMaker, *, contrastive: bool, ahead: int = 2) -> None:
        self.maker, self.contrastive = maker, contrastive
        self.epoch = 0
        self.vectors: tuple[np.ndarray, np.ndarray] | None = None
        self._ahead = ahead
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._coming: dict[int, Future[Batch]] = {}

    def __len__(self) -> int:
        return len(self.maker)

    def begin(self, epoch: int, vectors: tuple[np.ndarray, np.ndarray] | None) -> None:
        """Begin an epoch, and discard prepared batches of another one."""
        self.epoch, self.vectors = epoch, vectors
        for future in self._coming.values():
            future.cancel()
        self._coming = {}

    def close(self) -> None:
        """Stop the thread."""
        self.begin(self.epoch, None)
        self._threads.shutdown()

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        for number in range(index, min(index + 1 + self._ahead, len(self))):
            if number not in self._coming:
                self._coming[number] = self._threads.submit(self.maker.make, self.epoch, number, self.vectors)
        batch = self._coming.pop(index).result()
        inputs = {
            "waveforms": torch.from_numpy(batch.waveforms),
            "targets": torch.from_numpy(batch.targets),
            "unknown": torch.from_numpy(batch.unknown),
            "seed": torch.tensor(batch.seed),
        }
        if self.contrastive:
            inputs |= {
                "clips": torch.from_numpy(batch.clips),
                "tags": torch.from_numpy(batch.tags),
            }
        return inputs


class _Numbers(Sampler[list[int]]):
    """Numbers of batches in order, one at a time; the randomness is within the batches."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[int]]:
        return ([number] for number in range(self._count))


def _only(batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return batches[0]


def train_loader(dataset: BatchDataset) -> DataLoader[dict[str, Tensor]]:
    """Return a loader whose beginning `accelerate` can skip when a run is resumed."""
    return DataLoader(dataset, batch_sampler=_Numbers(len(dataset)), collate_fn=_only)
