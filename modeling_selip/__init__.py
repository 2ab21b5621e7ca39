"""The network: configuration, series tower, fusion, text tower, heads, losses. Knows no files, reports or training."""

from .configuration_selip import SelipConfig, SelipVisionConfig
from .modeling_selip import (
    SelipForVolumeClassification,
    SelipForVolumeSegmentation,
    SelipHeadModel,
    SelipHeadOutput,
    SelipModel,
    SelipOutput,
    SelipSimilarityMaps,
    SelipVisionModel,
)

__all__ = [
    "SelipConfig",
    "SelipForVolumeClassification",
    "SelipForVolumeSegmentation",
    "SelipHeadModel",
    "SelipHeadOutput",
    "SelipModel",
    "SelipOutput",
    "SelipSimilarityMaps",
    "SelipVisionConfig",
    "SelipVisionModel",
]
