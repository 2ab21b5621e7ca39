"""Multi-head attention over a set of tokens, through the attention interface of Transformers (eager, sdpa, ...)."""

import math
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


def eager_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reference attention, signature of Transformers' attention interface (`kwargs` are its other backends')."""
    scores = query @ key.transpose(-1, -2) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def cast_once(tokens: torch.Tensor) -> torch.Tensor:
    """Tokens in the precision of the linear layers to come.

    Under autocast each of several layers that read one tensor would cast it for itself, and keep its copy.
    """
    device = tokens.device.type
    return tokens.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else tokens


class SelipAttention(nn.Module):
    """Queries (N, Q, H) read tokens (N, T, H); tokens with mask False are never read.

    Args:
        config: any configuration that carries `_attn_implementation`.
        hidden_size: width H of queries and tokens.
        num_heads: number of heads; divides H.
    """

    def __init__(self, config: PreTrainedConfig, hidden_size: int, num_heads: int):
        super().__init__()
        self.config = config
        self.num_heads = num_heads
        self.scaling = 1.0 / math.sqrt(hidden_size // num_heads)
        self.is_causal = False
        self.q_proj = nn.Linear(hidden_size, hidden_size)
        self.k_proj = nn.Linear(hidden_size, hidden_size)
        self.v_proj = nn.Linear(hidden_size, hidden_size)
        self.out_proj = nn.Linear(hidden_size, hidden_size)

    def forward(
        self, queries: torch.Tensor, tokens: torch.Tensor, token_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            queries: (N, Q, H).
            tokens: (N, T, H).
            token_mask: bool (N, T), True = real. Every row needs at least one real token.

        Returns:
            (N, Q, H), and the attention weights (N, heads, Q, T) where the implementation gives them.
        """
        bias = None
        if token_mask is not None:
            bias = torch.zeros(token_mask.shape, dtype=queries.dtype, device=queries.device)
            bias = bias.masked_fill(~token_mask, torch.finfo(queries.dtype).min)[:, None, None, :]
            bias = bias.expand(-1, 1, queries.shape[1], -1)  # (N, T) -> (N, 1, Q, T)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention)
        mixed, weights = attend(
            self,
            self._split(self.q_proj(queries)),
            self._split(self.k_proj(tokens)),
            self._split(self.v_proj(tokens)),
            bias,
            scaling=self.scaling,
            dropout=0.0,
        )
        return self.out_proj(mixed.flatten(2)), weights  # (N, Q, heads, H/heads) -> (N, Q, H)

    def _split(self, projected: torch.Tensor) -> torch.Tensor:
        return projected.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (N, T, H) -> (N, heads, T, H/heads)
