"""Configuration of the SeLIP dual encoder: what rebuilds the network, and nothing else."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

_STAGE_DEPTHS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


@strict
class SelipVisionConfig(PreTrainedConfig):
    r"""Configuration of the 3D ResNet that encodes one series.

    The defaults are the released SeLIP encoder (arXiv 2503.19801: ResNet-50, shared by all sequences, from scratch)
    with GroupNorm in place of BatchNorm, in the axis order (x, y, z) of this package.

    Args:
        depth: 10, 18, 34 (basic blocks) or 50 (bottleneck blocks, four times wider at their end).
        hidden_sizes: width of each stage (four as released, or fewer), before the fourfold widening of a bottleneck.
        stem_kernel_size: kernel of the stem in voxels along x, y, z. Equal to `stem_stride`, the stem cuts patches.
        stem_stride: stride of the stem along x, y, z.
        stem_pool: whether a 3 x 3 x 1 max-pool with stride (2, 2, 1) follows the stem.
        stage_strides: stride of each stage along x, y, z.
        norm: `group` (independent of the batch), `batch` (as released), or `frozen_batch` (fixed statistics and
            scale).
        norm_groups: groups of `group`.
        pooling: `average` (as released), or `position`: every position of the last map has weights of its own, for a
            report says where a lesion is, and the study box puts a place of the head always at the same position.
        position_channels: channels that `position` reduces the last map to.
        pooled_size: width of a series token with `position`.
        input_pool: voxels along x, y, z that are averaged before anything else.
        input_norm: `none`, or `population`: each voxel's deviation from the mean of its sequence over the training
            volumes (population_selip.py).
        spatial_size: voxels of the study box along x, y, z; `position` and `population` need it.
        num_sequences: size of the table of MRI sequences; id 0 is an unknown sequence.
    """

    model_type = "selip_vision"
    base_config_key = "vision_config"

    depth: int = 50
    hidden_sizes: list[int] | tuple[int, ...] = (64, 128, 256, 512)
    stem_kernel_size: list[int] | tuple[int, ...] = (7, 7, 7)
    stem_stride: list[int] | tuple[int, ...] = (2, 2, 1)
    stem_pool: bool = True
    stage_strides: list | tuple = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    norm: str = "group"
    norm_groups: int = 8
    pooling: str = "average"
    position_channels: int = 16
    pooled_size: int = 128
    input_pool: list[int] | tuple[int, ...] = (1, 1, 1)
    input_norm: str = "none"
    spatial_size: list[int] | tuple[int, ...] | None = None
    num_sequences: int = 16
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        _expect_one_of("depth", self.depth, tuple(_STAGE_DEPTHS))
        _expect_one_of("norm", self.norm, ("group", "batch", "frozen_batch"))
        _expect_one_of("pooling", self.pooling, ("average", "position"))
        _expect_one_of("input_norm", self.input_norm, ("none", "population"))
        stages = len(self.hidden_sizes)
        if not 1 <= stages <= 4 or len(self.stage_strides) != stages:
            raise ValueError(
                "expected one to four stages, each with a width in hidden_sizes and strides in stage_strides, got "
                f"{self.hidden_sizes} and {self.stage_strides}"
            )
        for name in ("stem_kernel_size", "stem_stride", "input_pool"):
            if len(getattr(self, name)) != 3:
                raise ValueError(f"expected 3 values in {name}, got {getattr(self, name)}")
        needs_size = self.pooling == "position" or self.input_norm == "population"
        if (needs_size and self.spatial_size is None) or (self.spatial_size and len(self.spatial_size) != 3):
            raise ValueError(
                f"expected spatial_size, the voxels of the study box along x, y, z, got {self.spatial_size}"
            )
        if self.norm == "group" and any(width % self.norm_groups for width in self.hidden_sizes):
            raise ValueError(f"hidden_sizes {self.hidden_sizes} must be divisible by norm_groups {self.norm_groups}")
        super().__post_init__(**kwargs)

    @property
    def stage_depths(self) -> tuple[int, ...]:
        """Blocks in each stage."""
        return _STAGE_DEPTHS[self.depth][: len(self.hidden_sizes)]

    @property
    def expansion(self) -> int:
        """Widening at the end of a block: 4 for the bottlenecks of depth 50, else 1."""
        return 4 if self.depth == 50 else 1

    @property
    def hidden_size(self) -> int:
        """Width of a series token."""
        return self.pooled_size if self.pooling == "position" else self.last_width

    @property
    def last_width(self) -> int:
        """Channels of the last stage's map."""
        return self.hidden_sizes[-1] * self.expansion


@strict
class SelipConfig(PreTrainedConfig):
    r"""Configuration of [`SelipModel`]: a series tower, a fusion over the series of a study, and a text tower.

    Args:
        vision_config: [`SelipVisionConfig`] or its dictionary.
        text_config: configuration of any encoder that `AutoModel` knows, or its dictionary with `model_type`.
        projection_dim: dimension of the shared space.
        fusion_layers: transformer layers over the series tokens of a study.
        fusion_heads: attention heads of the fusion.
        logit_scale_init: initial logarithm of the inverse temperature; ln(1/0.07) as in CLIP and SeLIP.
    """

    model_type = "selip"
    sub_configs = {"vision_config": SelipVisionConfig, "text_config": AutoConfig}  # noqa: RUF012  (read by transformers)

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    projection_dim: int = 512
    fusion_layers: int = 1
    fusion_heads: int = 4
    logit_scale_init: float = 2.6592600369327783
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        if not isinstance(self.vision_config, PreTrainedConfig):
            self.vision_config = SelipVisionConfig(**(self.vision_config or {}))
        if not isinstance(self.text_config, PreTrainedConfig):
            self.text_config = AutoConfig.for_model(**(self.text_config or {"model_type": "bert"}))
        if self.vision_config.hidden_size % self.fusion_heads:
            raise ValueError(
                f"width {self.vision_config.hidden_size} of a series token must be divisible by fusion_heads "
                f"{self.fusion_heads}"
            )
        super().__post_init__(**kwargs)


def _expect_one_of(name: str, value: object, allowed: tuple) -> None:
    if value not in allowed:
        raise ValueError(f"expected {name} to be one of {allowed}, got {value!r}")
