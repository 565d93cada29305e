"""Gather embeddings over the processes of a distributed run, with gradients.

Every process computes the loss of the joint batch, as OpenCLIP does without its local loss. The backward pass of the
gather sums the gradients of all processes; DistributedDataParallel then averages the parameters' gradients, which
leaves the gradient of one process with the joint batch. Outside of a distributed run everything is returned as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.nn.functional import pad

__all__ = ["gather_rows", "union_of_tags"]


def _world_size() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def gather_rows(rows: Tensor) -> Tensor:
    """Return the rows of all processes, in the order of their ranks; each may have another number of rows.

    Args:
        rows: [shape=(n, ...)]; a gradient flows back to them.
    """
    if _world_size() == 1:
        return rows
    counts = _counts(rows)
    most = max(counts)
    padded = pad(rows, [0, 0] * (rows.ndim - 1) + [0, most - len(rows)])
    if rows.requires_grad:
        from torch.distributed.nn.functional import all_gather

        parts = list(all_gather(padded.contiguous()))
    else:
        parts = [torch.empty_like(padded) for _ in counts]
        distributed.all_gather(parts, padded.contiguous())
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def union_of_tags(tags: Tensor) -> Tensor:
    """Return the sorted union of the tags [shape=(n,)] of all processes."""
    return gather_rows(tags) if _world_size() == 1 else torch.unique(gather_rows(tags))


def _counts(rows: Tensor) -> list[int]:
    own = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.empty_like(own) for _ in range(_world_size())]
    distributed.all_gather(counts, own)
    return [int(count) for count in counts]
