"""Self-attention tagger: residual convolutions, then two Transformer layers over time, on 15 s of log-mel.

Won, Chun, Serra, "Toward interpretable music tagging with self-attention", arXiv:1906.04972, 2019, in the form of
Won, Ferraro, Bogdanov, Serra, SMC 2020: the layers are those of BERT (Devlin et al. 2019), without positions.

Verified against the published implementation: logits (tests/golden).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoders.backbones.base import check_waveform
from encoders.backbones.blocks import WON_MEL_128, NumberedLayers, ResidualConv2d
from encoders.mel import LogMel

__all__ = ["SelfAttention"]

_DIM = 256
_N_HEADS = 8
_HIDDEN_DROPOUT = 0.4
_ATTENTION_DROPOUT = 0.5
# Channels before and after layers 1 to 7. All halve mel, from 128 to 1; the first three also halve time.
_WIDTHS = (1, 128, 128, 256, 256, 256, 256, 256)
_TIME_STRIDES = (2, 2, 2, 1, 1, 1, 1)


class _Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(_DIM, _DIM)
        self.key = nn.Linear(_DIM, _DIM)
        self.value = nn.Linear(_DIM, _DIM)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(2, (_N_HEADS, _DIM // _N_HEADS)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=_ATTENTION_DROPOUT if self.training else 0.0)
        return y.transpose(1, 2).flatten(2)


class _AddNorm(nn.Module):
    """A dense layer, dropout, addition of the shortcut, layer norm."""

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.dense = nn.Linear(n_in, _DIM)
        self.dropout = nn.Dropout(_HIDDEN_DROPOUT)
        self.LayerNorm = nn.LayerNorm(_DIM, eps=1e-12)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(x)) + shortcut)


class _TransformerLayer(nn.Module):
    """Attention and a dense layer of four times the width, each normalised after its shortcut; names as in BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": _Heads(), "output": _AddNorm(_DIM)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(_DIM, 4 * _DIM)})
        self.output = _AddNorm(4 * _DIM)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention["output"](self.attention["self"](x), x)
        return self.output(F.gelu(self.intermediate["dense"](x)), x)


class SelfAttention(NumberedLayers):
    """Waveform at 16 kHz [shape=(batch, n_samples)] -> the pooled first token [shape=(batch, 256)]."""

    dim = _DIM
    sample_rate_hz = 16000
    input_samples = 15 * 16000
    min_samples = 257  # the padded strides always leave a frame; the front end reflects 256 samples
    mel = WON_MEL_128
    sequence_dim = _DIM

    first_token: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.front_end = LogMel(WON_MEL_128)
        self.spec_bn = nn.BatchNorm2d(1)
        widths = zip(pairwise(_WIDTHS), _TIME_STRIDES, strict=True)
        self.add_layers(ResidualConv2d(n_in, n_out, (2, stride)) for (n_in, n_out), stride in widths)
        self.register_buffer("first_token", torch.empty(_DIM), persistent=False)
        self.encoder = nn.ModuleDict({"layer": nn.Sequential(_TransformerLayer(), _TransformerLayer())})
        self.pooler = nn.ModuleDict({"dense": nn.Linear(_DIM, _DIM)})
        self.dropout = nn.Dropout(0.5)
        self.reset_tables()

    def reset_tables(self) -> None:
        """Compute the first token: seeded noise, which the published weights do not contain."""
        self.first_token.copy_(torch.from_numpy(np.random.RandomState(0).random_sample(_DIM)))

    def _tokens(self, waveform: Tensor) -> Tensor:
        """Return the encoded first token and frames [shape=(batch, 1 + n_steps, 256)]."""
        log_mel = self.front_end(check_waveform(waveform, self))
        x = self.through_layers(self.spec_bn(log_mel.unsqueeze(1))).squeeze(2).transpose(1, 2)
        return self.encoder["layer"](torch.cat([self.first_token.expand(x.shape[0], 1, _DIM), x], 1))

    def forward(self, waveform: Tensor) -> Tensor:
        return self.dropout(torch.tanh(self.pooler["dense"](self._tokens(waveform)[:, 0])))

    def sequence(self, waveform: Tensor) -> Tensor:
        return self._tokens(waveform)[:, 1:]
