"""The network: configuration, series tower, fusion, text tower, losses. Knows no files, reports or training."""

from .configuration_selip import SelipConfig, SelipVisionConfig
from .modeling_selip import SelipModel, SelipOutput, SelipVisionModel

__all__ = ["SelipConfig", "SelipModel", "SelipOutput", "SelipVisionConfig", "SelipVisionModel"]
