"""What is trained: a model with its loss, so that one forward pass makes both (and torchrun can divide it)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoders.mel import LogMel
from encoders.tagger_model import TaggerModel
from encoders.two_tower import TwoTowerModel
from retrieval.training.augment import SpecAugment
from retrieval.training.distillation import Kept, batch_norms
from retrieval.training.losses import MAX_LOG_SCALE, active_share, decoupled, info_nce, sigmoid, triplet

__all__ = ["BCE_LOSSES", "CONTRASTIVE_LOSSES", "ContrastiveLearner", "LossSettings", "TaggerLearner"]

CONTRASTIVE_LOSSES = ("infonce", "triplet", "sigmoid", "decoupled")
BCE_LOSSES = ("bce-with-logits", "bce")


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """Which loss, and its constants.

    Attributes:
        name: one of ``CONTRASTIVE_LOSSES`` or ``BCE_LOSSES``.
        margin: of triplets, and of the share of active ones whatever the loss, in cosine; where a model's scores are
            held, in log-odds.
        scale: the inverse temperature to start from; the sigmoid loss starts from 10 and a bias of -10, as published.
    """

    name: str = "infonce"
    margin: float = 0.2
    scale: float = 1 / 0.07

    def __post_init__(self) -> None:
        known = (*CONTRASTIVE_LOSSES, *BCE_LOSSES)
        if self.name not in known:
            raise ValueError(f"--loss {self.name}: choose one of {', '.join(known)}")


def _masks_spectrograms(backbone: nn.Module, augment: SpecAugment | None, learner: nn.Module) -> None:
    """Let SpecAugment stand behind the backbone's front end while the learner trains."""
    if augment is None:
        return
    front_end = getattr(backbone, "front_end", None)
    if not isinstance(front_end, LogMel):
        raise ValueError(f"{type(backbone).__name__} has no log-mel front end: leave --spec-augment out")

    def mask(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        return augment(output, seed=learner.augment_seed) if learner.training else None  # type: ignore[arg-type]

    front_end.register_forward_hook(mask)


def _freeze(backbone: nn.Module, stages: int) -> list[nn.Module]:
    """Stop the learning of a backbone's first stages and return them; all of it where ``stages`` is -1.

    Raises:
        ValueError: the backbone has no stages, or fewer.
    """
    if not stages:
        return []
    frozen: list[nn.Module] = [backbone]
    if stages > 0:
        features = getattr(backbone, "features", None)
        if not isinstance(features, nn.Sequential) or stages > len(features):
            has = f"has {len(features)} stages" if isinstance(features, nn.Sequential) else "is not made of stages"
            raise ValueError(f"--freeze-stages {stages}: {type(backbone).__name__} {has}; -1 freezes all of it")
        frozen = list(features.children())[:stages]
    for module in frozen:
        module.requires_grad_(False)
    return frozen


class _Learner(nn.Module):
    """What both kinds share: frozen parts stay in inference mode, the spectrogram mask has a seed."""

    def __init__(self, backbone: nn.Module, *, spec_augment: SpecAugment | None, freeze_stages: int) -> None:
        super().__init__()
        self.augment_seed = 0
        # In a list of lists, so that they are no second name of the model's parts in the checkpoint.
        self._frozen = [_freeze(backbone, freeze_stages)]
        _masks_spectrograms(backbone, spec_augment, self)

    def train(self, mode: bool = True) -> _Learner:
        super().train(mode)
        for modules in self._frozen:
            for module in modules:
                module.eval()
        return self


class ContrastiveLearner(_Learner):
    """The two towers and a contrastive loss.

    Attributes:
        log_scale: logarithm of the inverse temperature, learnt.
        bias: of the sigmoid loss, learnt.
    """

    words: Tensor

    def __init__(
        self,
        model: TwoTowerModel,
        words: np.ndarray,
        loss: LossSettings,
        *,
        spec_augment: SpecAugment | None = None,
        freeze_stages: int = 0,
        kept: Kept | None = None,
        keep_weight: float = 0.0,
    ) -> None:
        """Take unit word vectors of all tags [shape=(n_tags, word_dim)], and what is to be held with which weight."""
        super().__init__(model.audio_tower.backbone, spec_augment=spec_augment, freeze_stages=freeze_stages)
        self.model, self.loss = model, loss
        self._kept, self._keep_weight = kept, keep_weight
        if kept is not None:
            self._frozen.append(batch_norms(model.audio_tower, model.text_tower))
        start = np.log(10.0 if loss.name == "sigmoid" else loss.scale)
        if kept is not None:
            start = 0.0  # log-odds have their own scale
        # A hinge has no temperature, and torchrun wants no parameter without a gradient.
        self.log_scale = nn.Parameter(torch.tensor(float(start))) if loss.name != "triplet" else None
        self.bias = nn.Parameter(torch.tensor(-10.0 if kept is None else 0.0)) if loss.name == "sigmoid" else None
        self.register_buffer("words", torch.from_numpy(words.astype(np.float32)), persistent=False)

    def forward(
        self, waveforms: Tensor, tags: Tensor, targets: Tensor, ignore: Tensor, seed: Tensor
    ) -> dict[str, Tensor]:
        """Return ``loss``, the clips' unit vectors ``audio`` and the share of ``active`` triplets; see ``Batch``.

        Where something is held there is its ``drift`` too, and the loss has it.
        """
        self.augment_seed = int(seed)
        audio = self.audio(waveforms)
        text = self.model.text_tower(self.words[tags])
        # Exponentials of scores times 100 need float32, whatever the towers computed in.
        with torch.autocast(audio.device.type, enabled=False):
            scores = self._scores(audio.float(), text.float())
            positive = targets > 0
            with torch.no_grad():
                active = active_share(scores, positive, ignore, margin=self.loss.margin)
            outputs = {"loss": self._loss(scores, positive, ignore), "audio": audio.detach().float(), "active": active}
            if self._kept is not None:
                before = self._kept.scores(waveforms.reshape(-1, self.model.chunk_samples), len(waveforms))
                held = self.model.text_tower(self._kept.words.to(audio.device)).float()
                drift = self._kept.drift(audio.float() @ held.T, before)
                outputs |= {"loss": outputs["loss"] + self._keep_weight * drift, "drift": drift.detach()}
            return outputs

    def _scores(self, audio: Tensor, text: Tensor) -> Tensor:
        """Return cosines; where a model's scores are held, the log-odds that its calibration, held too, makes of them.

        Some words of a trained model lie nearer to all audio than others. A loss over its cosines would spend itself on
        these differences, which mean nothing.
        """
        return audio @ text.T if self._kept is None else self.model.calibration(audio, text)

    @property
    def centre(self) -> np.ndarray | None:
        """What all audio has in common in a model whose scores are held [shape=(dim,)]; mining looks beside it."""
        return None if self._kept is None else self.model.calibration.mean.cpu().numpy()

    def audio(self, waveforms: Tensor) -> Tensor:
        """Return unit vectors [shape=(n, dim)] of waveforms of whole chunks [shape=(n, n_chunks * chunk_samples)]."""
        n = len(waveforms)
        features = self.model.audio_tower.backbone(waveforms.reshape(-1, self.model.chunk_samples))
        segments = self.model.audio_tower.projection(self.model.pool(features.reshape(n, -1, features.shape[-1])))
        return segments[:, 0] if segments.shape[1] == 1 else F.normalize(segments.mean(1), dim=-1)

    @torch.no_grad()
    def tag_vectors(self, words: np.ndarray | None = None) -> np.ndarray:
        """Return unit vectors as inference has them [shape=(n, dim)]: of all tags, or of what else is in ``words``.

        Args:
            words: unit vectors as the text tower reads them [shape=(n, word_dim)].
        """
        tower = self.model.text_tower
        was_training = tower.training
        read = self.words if words is None else torch.from_numpy(words.astype(np.float32)).to(self.words.device)
        vectors = tower.eval()(read).float().cpu().numpy()
        tower.train(was_training)
        return vectors

    def _loss(self, scores: Tensor, positive: Tensor, ignore: Tensor) -> Tensor:
        if self.log_scale is None:
            return triplet(scores, positive, ignore, margin=self.loss.margin)
        with torch.no_grad():  # past the bound there would be no gradient to come back by
            self.log_scale.clamp_(max=MAX_LOG_SCALE)
        if self.bias is not None:
            return sigmoid(scores, positive, ignore, log_scale=self.log_scale, bias=self.bias)
        loss = info_nce if self.loss.name == "infonce" else decoupled
        return loss(scores, positive, ignore, log_scale=self.log_scale)


class TaggerLearner(_Learner):
    """A closed-set tagger and binary cross-entropy."""

    positive_weights: Tensor

    def __init__(
        self,
        model: TaggerModel,
        loss: LossSettings,
        *,
        positive_weights: np.ndarray | None = None,
        spec_augment: SpecAugment | None = None,
        freeze_stages: int = 0,
    ) -> None:
        """``positive_weights`` say how much more a tag's positives count than its negatives [shape=(n_tags,)]."""
        super().__init__(model.tagger.backbone, spec_augment=spec_augment, freeze_stages=freeze_stages)
        self.model, self.loss = model, loss
        weights = np.ones(len(model.config.tag_names)) if positive_weights is None else positive_weights
        self.register_buffer("positive_weights", torch.from_numpy(weights.astype(np.float32)), persistent=False)

    def forward(self, waveforms: Tensor, targets: Tensor, ignore: Tensor, seed: Tensor) -> dict[str, Tensor]:
        """Return the ``loss`` of waveforms of whole chunks against targets in [0, 1] [shape=(n, n_tags)].

        Pairs to ``ignore`` [shape=(n, n_tags)] take no part: nobody knows whether the clip has the tag.
        """
        self.augment_seed = int(seed)
        n = len(waveforms)
        logits = self.model(waveforms.reshape(-1, self.model.chunk_samples)).logits.reshape(n, -1, targets.shape[1])
        with torch.autocast(logits.device.type, enabled=False):
            mean = logits.float().mean(1)
            if self.loss.name == "bce-with-logits":
                losses = F.binary_cross_entropy_with_logits(
                    mean, targets, pos_weight=self.positive_weights, reduction="none"
                )
            else:
                # The unstable form, to compare with: a saturated sigmoid has no gradient left.
                p = torch.sigmoid(mean)
                as_positive = F.binary_cross_entropy(p, torch.ones_like(p), reduction="none")
                as_negative = F.binary_cross_entropy(p, torch.zeros_like(p), reduction="none")
                losses = self.positive_weights * targets * as_positive + (1 - targets) * as_negative
        return {"loss": losses[~ignore].mean()}
