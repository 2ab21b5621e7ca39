"""From the series of a study to one study token: a small transformer over the set of series tokens."""

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention_selip import SelipAttention
from .configuration_selip import SelipConfig


class SelipFusionLayer(GradientCheckpointingLayer):
    """Pre-norm transformer layer over a masked set of tokens."""

    def __init__(self, config: SelipConfig, hidden_size: int):
        super().__init__()
        self.norm_attention = nn.LayerNorm(hidden_size)
        self.attention = SelipAttention(config, hidden_size, config.fusion_heads)
        self.norm_mlp = nn.LayerNorm(hidden_size)
        self.mlp = nn.Sequential(
            nn.Linear(hidden_size, 2 * hidden_size), nn.GELU(), nn.Linear(2 * hidden_size, hidden_size)
        )

    def forward(self, hidden_states: torch.Tensor, token_mask: torch.Tensor) -> torch.Tensor:
        normed = self.norm_attention(hidden_states)
        hidden_states = hidden_states + self.attention(normed, normed, token_mask)[0]
        return hidden_states + self.mlp(self.norm_mlp(hidden_states))


class SelipFusion(nn.Module):
    """A study token that starts as the mean of the series tokens and reads them through masked attention.

    The tokens are a set: the result does not depend on their order, nor on how many absent series pad it. A study of
    one series goes the same way, so a series embedding is the embedding of a study that has this series only.
    """

    def __init__(self, config: SelipConfig, hidden_size: int, num_sequences: int):
        super().__init__()
        # what a token means differs by sequence; training starts these so that the tokens of a sequence have mean 0
        # and variance 1
        self.sequence_scale = nn.Embedding(num_sequences, hidden_size)
        self.sequence_shift = nn.Embedding(num_sequences, hidden_size)
        self.layers = nn.ModuleList([SelipFusionLayer(config, hidden_size) for _ in range(config.fusion_layers)])
        self.norm = nn.LayerNorm(hidden_size)

    def forward(
        self, series_tokens: torch.Tensor, series_mask: torch.Tensor, sequence_ids: torch.Tensor
    ) -> torch.Tensor:
        """
        Args:
            series_tokens: (V, S, H), one row a view of a study.
            series_mask: bool (V, S), True = the view has this series.
            sequence_ids: int64 (V, S).

        Returns:
            (V, H). A view without any series gives the constant of an empty study.
        """
        tokens = series_tokens * self.sequence_scale(sequence_ids) + self.sequence_shift(sequence_ids)
        weights = series_mask.to(tokens.dtype)[..., None]  # (V, S) -> (V, S, 1)
        mean = (tokens * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp(min=1)
        hidden = torch.cat([mean, tokens], dim=1)  # (V, 1 + S, H)
        mask = torch.cat([torch.ones_like(series_mask[:, :1]), series_mask], dim=1)
        for layer in self.layers:
            hidden = layer(hidden, mask)
        return self.norm(hidden[:, 0])
