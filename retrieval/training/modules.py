"""Models with their losses, as modules whose forward pass returns the loss of a batch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoders.mel import LogMel
from encoders.tagger_model import TaggerModel
from encoders.two_tower import TwoTowerModel
from retrieval.training.config import LossConfig
from retrieval.training.distillation import DistillationTarget, batch_norms
from retrieval.training.gather import gather_rows, union_of_tags
from retrieval.training.losses import MAX_LOG_SCALE, active_share, decoupled, info_nce, sigmoid, triplet
from retrieval.training.spec_augment import SpecAugment

__all__ = ["ContrastiveModule", "TaggerModule"]


class _TrainedModule(nn.Module):
    """Frozen stages stay in inference mode; spectrogram masks are seeded by the batch."""

    def __init__(self, backbone: nn.Module, *, spec_augment: SpecAugment | None, freeze_stages: int) -> None:
        super().__init__()
        self.augment_seed = 0
        # In a list of lists, so that they are not registered a second time in the state dict.
        self._frozen = [_freeze(backbone, freeze_stages)]
        _mask_spectrograms(backbone, spec_augment, self)

    def train(self, mode: bool = True) -> _TrainedModule:
        super().train(mode)
        for modules in self._frozen:
            for module in modules:
                module.eval()
        return self


class ContrastiveModule(_TrainedModule):
    """Two towers and a contrastive loss.

    Args:
        model: the two towers.
        text_inputs: unit vectors of all tags at the input of the text tower [shape=(n_tags, input_dim)].
        loss: which loss.
        spec_augment: masks of the spectrogram.
        freeze_stages: of the backbone; -1 freezes all.
        target: adds a distillation loss with the weight `distill_weight`.

    Attributes:
        log_scale: logarithm of the inverse temperature, trained; None for triplets.
        bias: of the sigmoid loss, trained; None for the others.
    """

    text_inputs: Tensor

    def __init__(
        self,
        model: TwoTowerModel,
        text_inputs: np.ndarray,
        loss: LossConfig,
        *,
        spec_augment: SpecAugment | None = None,
        freeze_stages: int = 0,
        target: DistillationTarget | None = None,
        distill_weight: float = 0.0,
    ) -> None:
        super().__init__(model.audio_tower.backbone, spec_augment=spec_augment, freeze_stages=freeze_stages)
        self.model, self.loss = model, loss
        self._target, self._distill_weight = target, distill_weight
        if target is not None:
            self._frozen.append(batch_norms(model.audio_tower, model.text_tower))
        log_odds = target is not None  # which have a scale and an offset of their own
        start = 0.0 if log_odds else np.log(10.0 if loss.name == "sigmoid" else loss.scale)
        # A hinge has no temperature, and distributed training needs a gradient for every parameter.
        self.log_scale = nn.Parameter(torch.tensor(float(start))) if loss.name != "triplet" else None
        self.bias = nn.Parameter(torch.tensor(0.0 if log_odds else -10.0)) if loss.name == "sigmoid" else None
        self.register_buffer("text_inputs", torch.from_numpy(text_inputs.astype(np.float32)), persistent=False)

    def forward(
        self, waveforms: Tensor, tags: Tensor, targets: Tensor, unknown: Tensor, seed: Tensor
    ) -> dict[str, Tensor]:
        """Return the loss of a batch (see `Batch`), joint over all processes of a distributed run.

        Returns:
            `loss`; `audio`, the unit vectors of this process's clips; `active`, the share of active triplets; with
            distillation `distillation`, that part of the loss.
        """
        self.augment_seed = int(seed)
        audio = self.audio(waveforms)
        columns = union_of_tags(tags)
        text = self.model.text_tower(self.text_inputs[columns])
        # Exponentials of scores times 100 need float32, whatever the towers computed in.
        with torch.autocast(audio.device.type, enabled=False):
            audio = audio.float()
            targets, unknown = gather_rows(targets)[:, columns], gather_rows(unknown)[:, columns]
            scores = self._scores(gather_rows(audio), text.float())
            with torch.no_grad():
                active = active_share(scores, targets, unknown, margin=self.loss.margin)
            outputs = {"loss": self._loss(scores, targets, unknown), "audio": audio.detach(), "active": active}
            if self._target is not None:
                distillation = self._distillation(self._target, waveforms, audio)
                outputs["loss"] = outputs["loss"] + self._distill_weight * distillation
                outputs["distillation"] = distillation.detach()
            return outputs

    def _distillation(self, target: DistillationTarget, waveforms: Tensor, audio: Tensor) -> Tensor:
        """Return the distillation loss of this process's clips; its mean over processes is that of the joint batch."""
        wanted = target.scores(waveforms.reshape(-1, self.model.chunk_samples), len(waveforms))
        text = self.model.text_tower(target.text_inputs.to(audio.device)).float()
        return target.loss(audio @ text.T, wanted)

    def _scores(self, audio: Tensor, text: Tensor) -> Tensor:
        """Return cosines; with distillation, the calibrated log-odds, whose calibration is kept.

        Some phrases of a trained model lie nearer to all audio than others. A loss of its cosines would be dominated by
        these differences, which carry no information.
        """
        return audio @ text.T if self._target is None else self.model.calibration(audio, text)

    @property
    def centre(self) -> np.ndarray | None:
        """Mean vector of background audio of a model that is distilled from [shape=(dim,)], for mining; else None."""
        return None if self._target is None else self.model.calibration.mean.cpu().numpy()

    def audio(self, waveforms: Tensor) -> Tensor:
        """Return unit vectors [shape=(n, dim)] of crops of whole chunks [shape=(n, n_chunks * chunk_samples)]."""
        n = len(waveforms)
        features = self.model.audio_tower.chunk_features(waveforms.reshape(-1, self.model.chunk_samples))
        return F.normalize(self.model.audio_tower.clip_vectors(features.reshape(n, -1, features.shape[-1])), dim=-1)

    @torch.no_grad()
    def tag_vectors(self, text_inputs: np.ndarray | None = None) -> np.ndarray:
        """Return unit vectors as inference computes them [shape=(n, dim)].

        Args:
            text_inputs: unit vectors at the input of the text tower [shape=(n, input_dim)]. None: of all tags.
        """
        tower = self.model.text_tower
        was_training = tower.training
        inputs = self.text_inputs
        if text_inputs is not None:
            inputs = torch.from_numpy(text_inputs.astype(np.float32)).to(self.text_inputs.device)
        vectors = tower.eval()(inputs).float().cpu().numpy()
        tower.train(was_training)
        return vectors

    def _loss(self, scores: Tensor, targets: Tensor, unknown: Tensor) -> Tensor:
        if self.log_scale is None:
            return triplet(scores, targets, unknown, margin=self.loss.margin)
        with torch.no_grad():  # beyond the bound there would be no gradient to return by
            self.log_scale.clamp_(max=MAX_LOG_SCALE)
        if self.bias is not None:
            return sigmoid(scores, targets, unknown, log_scale=self.log_scale, bias=self.bias)
        loss = info_nce if self.loss.name == "infonce" else decoupled
        return loss(scores, targets, unknown, log_scale=self.log_scale)


class TaggerModule(_TrainedModule):
    """A closed-set tagger and binary cross-entropy.

    Args:
        model: the tagger.
        loss: which form of it.
        positive_weights: how much more a tag's positives weigh than its negatives [shape=(n_tags,)]; None: 1.
        spec_augment: masks of the spectrogram.
        freeze_stages: of the backbone; -1 freezes all.
    """

    positive_weights: Tensor

    def __init__(
        self,
        model: TaggerModel,
        loss: LossConfig,
        *,
        positive_weights: np.ndarray | None = None,
        spec_augment: SpecAugment | None = None,
        freeze_stages: int = 0,
    ) -> None:
        super().__init__(model.tagger.backbone, spec_augment=spec_augment, freeze_stages=freeze_stages)
        self.model, self.loss = model, loss
        weights = np.ones(len(model.config.tag_names)) if positive_weights is None else positive_weights
        self.register_buffer("positive_weights", torch.from_numpy(weights.astype(np.float32)), persistent=False)

    def forward(self, waveforms: Tensor, targets: Tensor, unknown: Tensor, seed: Tensor) -> dict[str, Tensor]:
        """Return the loss of crops of whole chunks (see `Batch`).

        For a pair with probability p: -v w log p - (1 - w - u) log(1 - p), where v weights the tag's positives. The
        losses are added and divided by the sum of 1 - u.

        Returns:
            `loss`.
        """
        self.augment_seed = int(seed)
        n = len(waveforms)
        logits = self.model(waveforms.reshape(-1, self.model.chunk_samples)).logits.reshape(n, -1, targets.shape[1])
        with torch.autocast(logits.device.type, enabled=False):
            mean = logits.float().mean(1)
            if self.loss.name == "bce-with-logits":
                as_positive, as_negative = -F.logsigmoid(mean), -F.logsigmoid(-mean)
            else:
                # The unstable form, for comparison: a saturated sigmoid has no gradient.
                p = torch.sigmoid(mean)
                as_positive = F.binary_cross_entropy(p, torch.ones_like(p), reduction="none")
                as_negative = F.binary_cross_entropy(p, torch.zeros_like(p), reduction="none")
            negative = (1 - targets - unknown.to(mean.dtype)).clamp_min(0)
            losses = self.positive_weights * targets * as_positive + negative * as_negative
        return {"loss": losses.sum() / (targets + negative).sum().clamp_min(torch.finfo(mean.dtype).tiny)}


def _mask_spectrograms(backbone: nn.Module, augment: SpecAugment | None, module: _TrainedModule) -> None:
    """Apply SpecAugment to the output of the backbone's front end while the module trains."""
    if augment is None:
        return
    front_end = getattr(backbone, "front_end", None)
    if not isinstance(front_end, LogMel):
        raise ValueError(f"{type(backbone).__name__} has no log-mel front end: leave --spec-augment out")

    def mask(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        return augment(output, seed=module.augment_seed) if module.training else None

    front_end.register_forward_hook(mask)


def _freeze(backbone: nn.Module, stages: int) -> list[nn.Module]:
    """Freeze a backbone's first stages, or all of it where `stages` is -1, and return them.

    Raises:
        ValueError: the backbone has no stages, or fewer.
    """
    if not stages:
        return []
    frozen: list[nn.Module] = [backbone]
    if stages > 0:
        features = getattr(backbone, "features", None)
        if not isinstance(features, nn.Sequential) or stages > len(features):
            has = f"has {len(features)} stages" if isinstance(features, nn.Sequential) else "has no stages"
            raise ValueError(f"--freeze-stages {stages}: {type(backbone).__name__} {has}; -1 freezes all of it")
        frozen = list(features.children())[:stages]
    for module in frozen:
        module.requires_grad_(False)
    return frozen
