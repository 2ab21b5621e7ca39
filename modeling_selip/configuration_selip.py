"""Configuration of the SeLIP dual encoder: what rebuilds the network, and nothing else."""

from typing import Any, Self

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

_STAGE_DEPTHS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
_POOLINGS = {"resnet": ("average", "position"), "vit": ("average", "position", "class")}

VISION_SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "resnet": {
        # 1.3 M parameters with its pooling, for a laptop and the `tiny` study box
        "tiny": {
            "input_pool": (2, 2, 1),  # to 5 x 5 x 6 mm: lesions that reports name are some 10 mm and more
            "input_norm": "population",  # a lesion stands out against the mean head of its sequence
            "depth": 10,
            "hidden_sizes": (32, 32),
            "stem_kernel_size": (3, 3, 3),
            "stem_stride": (2, 2, 2),
            "stem_pool": False,
            "stage_strides": ((2, 2, 2), (1, 1, 1)),
            "pooling": "position",
        },
        "small": {"depth": 18, "pooling": "position"},
        "base": {"depth": 50, "pooling": "position"},
    },
    # widths, layers and heads of DeiT-Ti, ViT-S and ViT-B, so that 2D checkpoints of these fit
    "vit": {
        # a third of the 594 patches of the `tiny` study box
        "tiny": {
            "width": 192,
            "intermediate_size": 768,
            "num_attention_heads": 3,
            "token_budget": 198,
            "input_norm": "population",
            "pooling": "position",
        },
        # a third of the 1,176 patches of the `base` study box: two thirds of those that touch a usual head
        "small": {
            "width": 384,
            "intermediate_size": 1536,
            "num_attention_heads": 6,
            "token_budget": 392,
            "pooling": "position",
        },
        "base": {
            "width": 768,
            "intermediate_size": 3072,
            "num_attention_heads": 12,
            "token_budget": 392,
            "pooling": "position",
        },
    },
}
"""Fields of [`SelipVisionConfig`] by backbone and size; what the study box says is not among them."""


@strict
class SelipVisionConfig(PreTrainedConfig):
    r"""Configuration of the tower that encodes one series: a 3D ResNet or a 3D ViT.

    The defaults are the released SeLIP encoder (arXiv 2503.19801: ResNet-50, shared by all sequences, from scratch)
    with GroupNorm in place of BatchNorm, in the axis order (x, y, z) of this package; those of the ViT are ViT-B.

    Args:
        backbone: `resnet` or `vit`. Fields below are read by both where nothing is said.
        depth: ResNet: 10, 18, 34 (basic blocks) or 50 (bottleneck blocks, four times wider at their end).
        hidden_sizes: ResNet: width of each stage (four as released, or fewer), before the fourfold widening of a
            bottleneck.
        stem_kernel_size: ResNet: kernel of the stem in voxels along x, y, z. Equal to `stem_stride`, the stem cuts
            patches.
        stem_stride: ResNet: stride of the stem along x, y, z.
        stem_pool: ResNet: whether a 3 x 3 x 1 max-pool with stride (2, 2, 1) follows the stem.
        stage_strides: ResNet: stride of each stage along x, y, z.
        norm: ResNet: `group` (independent of the batch), `batch` (as released), or `frozen_batch` (fixed statistics
            and scale).
        norm_groups: ResNet: groups of `group`.
        width: ViT: width of a patch token, a multiple of 6 and of `num_attention_heads`.
        num_hidden_layers: ViT: transformer layers.
        num_attention_heads: ViT: heads of each layer.
        intermediate_size: ViT: width within the perceptron of a layer.
        hidden_act: ViT: activation of that perceptron, by its name in Transformers.
        layer_norm_eps: ViT: epsilon of its normalisations.
        embedding_norm: ViT: whether the tokens are normalised before the first layer, as in CLIP.
        study_layers: ViT: numbers of the layers (from 0) whose attention spans the patches of all series of a study,
            as in HLIP; in all others, and by default in all, a series sees itself alone.
        patch_size: ViT: voxels of a patch along x, y, z, before `input_pool`; that of the processor.
        spacing_mm: ViT: voxel size of the study box in mm, for the position of a patch; that of the processor.
        token_budget: ViT: most patches of a series that training keeps, a random subset of those that touch the
            head, drawn with the batch; None: all. Evaluation keeps all.
        pooling: `average` (as released), or `position`: every position of the last map has weights of its own, for a
            report says where a lesion is, and the study box puts a place of the head always at the same position.
            ViT also: `class`, a token of its own that reads the patches.
        position_channels: channels that `position` reduces the last map to.
        pooled_size: width of a series token with `position`.
        input_pool: voxels along x, y, z that are averaged before anything else.
        input_norm: `none`, or `population`: each voxel's deviation from the mean of its sequence over the training
            volumes (population_selip.py).
        spatial_size: voxels of the study box along x, y, z; `position` and `population` need it.
        num_sequences: size of the table of MRI sequences; id 0 is an unknown sequence.

    Example:
        >>> box = {"spatial_size": (224, 224, 48), "spacing_mm": (1.0, 1.0, 3.5), "patch_size": (16, 16, 8)}
        >>> config = SelipVisionConfig.of_size("vit", "base", **box)
    """

    model_type = "selip_vision"
    base_config_key = "vision_config"

    backbone: str = "resnet"
    depth: int = 50
    hidden_sizes: list[int] | tuple[int, ...] = (64, 128, 256, 512)
    stem_kernel_size: list[int] | tuple[int, ...] = (7, 7, 7)
    stem_stride: list[int] | tuple[int, ...] = (2, 2, 1)
    stem_pool: bool = True
    stage_strides: list | tuple = ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2))
    norm: str = "group"
    norm_groups: int = 8
    width: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6
    embedding_norm: bool = False
    study_layers: list[int] | tuple[int, ...] = ()
    patch_size: list[int] | tuple[int, ...] = (16, 16, 8)
    spacing_mm: list[float] | tuple[float, ...] | None = None
    token_budget: int | None = None
    pooling: str = "average"
    position_channels: int = 16
    pooled_size: int = 128
    input_pool: list[int] | tuple[int, ...] = (1, 1, 1)
    input_norm: str = "none"
    spatial_size: list[int] | tuple[int, ...] | None = None
    num_sequences: int = 16
    initializer_range: float = 0.02

    @classmethod
    def of_size(cls, backbone: str, size: str, **changes: Any) -> Self:
        """The configuration of a named size, `tiny`, `small` or `base`, with these fields changed or added."""
        _expect_one_of("backbone", backbone, tuple(VISION_SIZES))
        _expect_one_of("size", size, tuple(VISION_SIZES[backbone]))
        return cls(**{"backbone": backbone, **VISION_SIZES[backbone][size], **changes})

    def __post_init__(self, **kwargs: Any) -> None:
        _expect_one_of("backbone", self.backbone, tuple(_POOLINGS))
        _expect_one_of("pooling", self.pooling, _POOLINGS[self.backbone])
        _expect_one_of("input_norm", self.input_norm, ("none", "population"))
        for name in ("stem_kernel_size", "stem_stride", "input_pool", "patch_size"):
            if len(getattr(self, name)) != 3:
                raise ValueError(f"expected 3 values in {name}, got {getattr(self, name)}")
        needs_size = self.pooling == "position" or self.input_norm == "population"
        if (needs_size and self.spatial_size is None) or (self.spatial_size and len(self.spatial_size) != 3):
            raise ValueError(
                f"expected spatial_size, the voxels of the study box along x, y, z, got {self.spatial_size}"
            )
        if self.backbone == "resnet":
            self._check_resnet()
        else:
            self._check_vit()
        super().__post_init__(**kwargs)

    def _check_resnet(self) -> None:
        _expect_one_of("depth", self.depth, tuple(_STAGE_DEPTHS))
        _expect_one_of("norm", self.norm, ("group", "batch", "frozen_batch"))
        stages = len(self.hidden_sizes)
        if not 1 <= stages <= 4 or len(self.stage_strides) != stages:
            raise ValueError(
                "expected one to four stages, each with a width in hidden_sizes and strides in stage_strides, got "
                f"{self.hidden_sizes} and {self.stage_strides}"
            )
        if self.norm == "group" and any(width % self.norm_groups for width in self.hidden_sizes):
            raise ValueError(f"hidden_sizes {self.hidden_sizes} must be divisible by norm_groups {self.norm_groups}")

    def _check_vit(self) -> None:
        if self.spacing_mm is None or len(self.spacing_mm) != 3 or min(self.spacing_mm) <= 0:
            raise ValueError(
                f"expected spacing_mm, the voxel size of the study box along x, y, z in mm, got {self.spacing_mm}"
            )
        # positions take a sine and a cosine for each of three axes
        if self.width % 6 or self.width % self.num_attention_heads:
            raise ValueError(
                f"width {self.width} must be divisible by 6 and by num_attention_heads {self.num_attention_heads}"
            )
        if any(patch % pool for patch, pool in zip(self.patch_size, self.input_pool, strict=True)):
            raise ValueError(f"patch_size {self.patch_size} must be divisible by input_pool {self.input_pool}")
        sizes = self.spatial_size or self.patch_size
        if any(size % patch for size, patch in zip(sizes, self.patch_size, strict=True)):
            raise ValueError(f"spatial_size {self.spatial_size} must be divisible by patch_size {self.patch_size}")
        if not set(self.study_layers) <= set(range(self.num_hidden_layers)):
            raise ValueError(
                f"expected study_layers within 0 to {self.num_hidden_layers - 1}, got {self.study_layers}"
            )
        if self.token_budget is not None and self.token_budget < 1:
            raise ValueError(f"expected token_budget of at least 1, or None, got {self.token_budget}")

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
        """Channels of the last feature map."""
        return self.width if self.backbone == "vit" else self.hidden_sizes[-1] * self.expansion


@strict
class SelipConfig(PreTrainedConfig):
    r"""Configuration of [`SelipModel`]: a series tower, a fusion over the series of a study, and a text tower.

    The models with a head read it too, with `num_labels`, `id2label` and `problem_type` as everywhere in Transformers;
    they have no text tower.

    Args:
        vision_config: [`SelipVisionConfig`] or its dictionary.
        text_config: configuration of any encoder that `AutoModel` knows, or its dictionary with `model_type`.
        projection_dim: dimension of the shared space.
        fusion_layers: transformer layers over the series tokens of a study.
        fusion_heads: attention heads of the fusion.
        logit_scale_init: initial logarithm of the inverse temperature; ln(1/0.07) as in CLIP and SeLIP.
        decoder_width: channels of the decoder of [`SelipForVolumeSegmentation`] at the size of the study box, a
            multiple of 4; coarser maps are wider.
    """

    model_type = "selip"
    sub_configs = {"vision_config": SelipVisionConfig, "text_config": AutoConfig}  # noqa: RUF012  (read by transformers)

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    projection_dim: int = 512
    fusion_layers: int = 1
    fusion_heads: int = 4
    logit_scale_init: float = 2.6592600369327783
    decoder_width: int = 16
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
        if self.decoder_width < 4 or self.decoder_width % 4:
            raise ValueError(f"expected decoder_width to be a multiple of 4, got {self.decoder_width}")
        super().__post_init__(**kwargs)


def _expect_one_of(name: str, value: object, allowed: tuple) -> None:
    if value not in allowed:
        raise ValueError(f"expected {name} to be one of {allowed}, got {value!r}")
