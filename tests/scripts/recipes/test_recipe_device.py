"""The recipe on a device other than the CPU, without a GPU.

`FakeDevice` stands for the device "cuda" while it is active. Tensors on it are wrappers around CPU tensors. As with a
real GPU, an operation on wrapped and plain tensors is an error, and so is a conversion of a wrapped tensor to numpy.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only

from scripts.recipes.default.calibrate import calibrate
from scripts.recipes.default.data import Collection
from scripts.recipes.default.features import chunk_features
from scripts.recipes.default.settings import Recipe
from scripts.recipes.default.stages import held_out_metrics, initialise
from scripts.recipes.default.student import Student

FAKE = torch.device("cuda")
COPIES = {torch.ops.aten.copy_.default}  # the only operation between devices


class DeviceTensor(Tensor):
    """A tensor on the fake device; `inner` holds the values."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls: type, inner: Tensor) -> DeviceTensor:
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=inner.device
        )
        made.inner = inner
        return made

    def __repr__(self, **_: Any) -> str:
        return f"DeviceTensor({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
        others = [tensor for tensor in tensors if not isinstance(tensor, DeviceTensor) and tensor.dim() > 0]
        if others and func not in COPIES:
            raise RuntimeError(f"expected all tensors on the same device, but {func} got cuda and cpu tensors")
        if func in COPIES and not isinstance(args[0], DeviceTensor):
            return func(args[0], args[1].inner, *args[2:], **kwargs)
        bare_args, bare_kwargs = tree_map_only(DeviceTensor, lambda tensor: tensor.inner, (args, kwargs))
        result = func(*bare_args, **bare_kwargs)
        given = {id(tensor.inner): tensor for tensor in tensors if isinstance(tensor, DeviceTensor)}

        def wrapped(tensor: Tensor) -> DeviceTensor:
            return given[id(tensor)] if id(tensor) in given else DeviceTensor(tensor)

        return tree_map_only(Tensor, wrapped, result)


class _ToDevice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return DeviceTensor(tensor.detach().clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        return gradients[0].inner


class _ToCpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Any) -> Tensor:
        return tensor.inner.detach().clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        return DeviceTensor(gradients[0])


def is_fake(device: Any) -> bool:
    return device is not None and not isinstance(device, (Tensor, torch.dtype)) and torch.device(device).type == "cuda"


class FakeDevice(TorchFunctionMode):
    """Runs what is asked of the device "cuda" on wrapped tensors."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        first = args[0] if args else None
        if func == Tensor.device.__get__:  # type: ignore[attr-defined]
            return FAKE if isinstance(first, DeviceTensor) else func(*args)
        if func in (Tensor.numpy, Tensor.__array__, Tensor.tolist) and isinstance(first, DeviceTensor):
            if func is Tensor.tolist:
                return first.inner.tolist()
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        if func is torch._has_compatible_shallow_copy_type:
            return False  # a module that is moved gets new parameters
        if func is Tensor.cpu:
            return _ToCpu.apply(first) if isinstance(first, DeviceTensor) else first
        if func is Tensor.to:
            return self._to(args, kwargs)
        if is_fake(kwargs.get("device")):  # a factory
            del kwargs["device"]
            return _ToDevice.apply(func(*args, **kwargs))
        return func(*args, **kwargs)

    def _to(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Move a tensor, then convert it."""
        tensor, rest = args[0], list(args[1:])
        device = kwargs.pop("device", None)
        if rest and isinstance(rest[0], Tensor):
            device, rest = rest[0].device, [rest[0].dtype, *rest[1:]]
        elif (rest and isinstance(rest[0], (str, torch.device))) or (rest and rest[0] is None):
            device = rest.pop(0)
        if device is not None:
            wrapped = isinstance(tensor, DeviceTensor)
            if is_fake(device) and not wrapped:
                tensor = _ToDevice.apply(tensor)
            elif wrapped and not is_fake(device):
                tensor = _ToCpu.apply(tensor)
        dtype = next((value for value in [*rest, kwargs.get("dtype")] if isinstance(value, torch.dtype)), tensor.dtype)
        return tensor if dtype == tensor.dtype else Tensor.to(tensor, dtype)


def test_the_fake_device_refuses_what_a_gpu_refuses() -> None:
    with FakeDevice():
        layer, rows = nn.Linear(3, 2).to("cuda"), torch.ones(4, 3)
        assert layer.weight.device == FAKE
        assert isinstance(layer.weight, nn.Parameter)
        with pytest.raises(RuntimeError, match="same device"):
            layer(rows)
        output = layer(rows.to("cuda"))
        with pytest.raises(TypeError, match="convert cuda"):
            output.detach().numpy()
        output.sum().backward()
        assert layer.weight.grad is not None
        np.testing.assert_array_equal(layer.weight.grad.cpu().numpy(), np.full((2, 3), 4.0))
        with pytest.raises(RuntimeError, match="same device"):
            torch.zeros(2, 3, device="cuda") + torch.zeros(2, 3)
        assert output.cpu().detach().numpy().shape == (4, 2)


def run_all(student: Student, folder: Path) -> dict[str, Any]:
    """Run every stage that uses the device; return the weights, and the metrics of the held-out clips."""
    model, collection = student.model, student.collection
    published = chunk_features(model, collection)
    initialise(student, log=lambda record: None)
    student.fit_heads(published, log=lambda record: None)
    student.fit(folder, log=lambda record: None)
    metrics = held_out_metrics(model, collection)
    line = calibrate(model, collection, student.data.synthetic, seed=1)
    state = {name: value.clone() for name, value in model.cpu().state_dict().items()}
    assert not any(isinstance(value, DeviceTensor) for value in state.values())
    return {"state": state, "metrics": metrics, "line": line}


def test_every_stage_runs_on_a_device(
    small_student: Callable[..., Student], recipe_collection: Collection, tmp_path: Path
) -> None:
    recipe = Recipe(
        seed=2, head_steps=3, steps=4, batch_clips=16, phrases=3, synthetic_batch=6, text_steps=3, checkpoint_steps=2
    )
    # All clips count as music, so that the loss among music clips is part of the check.
    collection = dataclasses.replace(recipe_collection, z=np.nan_to_num(recipe_collection.z))
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cuda").mkdir()
    expected = run_all(small_student(collection, recipe), tmp_path / "cpu")
    with FakeDevice():
        student = small_student(collection, recipe, device="cuda")
        head = copy.deepcopy(student.data.teacher_head.state_dict())
        found = run_all(student, tmp_path / "cuda")
        assert not any(isinstance(value, DeviceTensor) for value in student.data.teacher_head.state_dict().values())
        assert all(torch.equal(value, student.data.teacher_head.state_dict()[name]) for name, value in head.items())
        # The checkpoint of the last step is continued on the device.
        again = small_student(collection, recipe, device="cuda")
        again.fit(tmp_path / "cuda", log=lambda record: None)
        resumed = again.model.cpu().state_dict()
    # The optimizer sums in another order for a tensor subclass, so that only the first digits agree.
    assert found["metrics"]["synth"] == pytest.approx(expected["metrics"]["synth"], abs=0.1)
    assert found["line"] == pytest.approx(expected["line"], rel=0.02)
    for name, value in expected["state"].items():
        torch.testing.assert_close(found["state"][name], value, rtol=0.05, atol=2e-3, msg=name)
        if not name.startswith("calibration"):
            torch.testing.assert_close(resumed[name], found["state"][name], rtol=0, atol=0, msg=name)
    saved = torch.load(tmp_path / "cuda" / "stage2.pt", weights_only=True)
    assert saved["step"] == 4
