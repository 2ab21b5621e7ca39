"""SeLIP: language-image pretraining for head MRI.

`import selip` costs nothing: the public names below are loaded when they are first used. The first use of a model or
processor class also registers the Auto classes of Transformers, so that `AutoModel.from_pretrained` takes the code of
this package instead of the copy that ships with a checkpoint.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> module that defines it; the order is that of the documentation
_PUBLIC = {
    "SelipConfig": "selip.modeling_selip.configuration_selip",
    "SelipVisionConfig": "selip.modeling_selip.configuration_selip",
    "SelipModel": "selip.modeling_selip.modeling_selip",
    "SelipForVolumeClassification": "selip.modeling_selip.modeling_selip",
    "SelipForVolumeSegmentation": "selip.modeling_selip.modeling_selip",
    "SelipImageProcessor": "selip.processing.image_processing_selip",
    "SelipProcessor": "selip.processing.processing_selip",
    "StructuredReport": "selip.processing.findings",
    "json_schema": "selip.processing.findings",
    "structure_report": "selip.processing.rules.structurer",
    "load_studies": "selip.processing.sources.studies",
    "SelipStudies": "selip.processing.sources.builder",
}
_REGISTERS = {
    "SelipConfig",
    "SelipVisionConfig",
    "SelipModel",
    "SelipForVolumeClassification",
    "SelipForVolumeSegmentation",
    "SelipImageProcessor",
    "SelipProcessor",
}

__all__ = ["__version__", "register", *_PUBLIC]

if TYPE_CHECKING:
    from selip.modeling_selip.configuration_selip import SelipConfig as SelipConfig
    from selip.modeling_selip.configuration_selip import SelipVisionConfig as SelipVisionConfig
    from selip.modeling_selip.modeling_selip import SelipForVolumeClassification as SelipForVolumeClassification
    from selip.modeling_selip.modeling_selip import SelipForVolumeSegmentation as SelipForVolumeSegmentation
    from selip.modeling_selip.modeling_selip import SelipModel as SelipModel
    from selip.processing.findings import StructuredReport as StructuredReport
    from selip.processing.findings import json_schema as json_schema
    from selip.processing.image_processing_selip import SelipImageProcessor as SelipImageProcessor
    from selip.processing.processing_selip import SelipProcessor as SelipProcessor
    from selip.processing.rules.structurer import structure_report as structure_report
    from selip.processing.sources.builder import SelipStudies as SelipStudies
    from selip.processing.sources.studies import load_studies as load_studies


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'selip' has no attribute {name!r}; it has {', '.join(__all__)}")
    if name in _REGISTERS:
        register()
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def register() -> None:
    """Make the Auto classes and `pipeline` of Transformers know SeLIP.

    Calling it again changes nothing. It is called by the first use of a public model or processor class.
    """
    from transformers import (
        AutoConfig,
        AutoImageProcessor,
        AutoModel,
        AutoModelForImageClassification,
        AutoModelForSemanticSegmentation,
        AutoProcessor,
    )
    from transformers.pipelines import PIPELINE_REGISTRY

    from selip.modeling_selip.configuration_selip import SelipConfig, SelipVisionConfig
    from selip.modeling_selip.modeling_selip import (
        SelipForVolumeClassification,
        SelipForVolumeSegmentation,
        SelipModel,
        SelipVisionModel,
    )
    from selip.modeling_selip.pipelines_selip import PIPELINES
    from selip.processing.image_processing_selip import SelipImageProcessor
    from selip.processing.processing_selip import SelipProcessor

    AutoConfig.register(SelipConfig.model_type, SelipConfig, exist_ok=True)
    AutoConfig.register(SelipVisionConfig.model_type, SelipVisionConfig, exist_ok=True)
    AutoModel.register(SelipConfig, SelipModel, exist_ok=True)
    AutoModel.register(SelipVisionConfig, SelipVisionModel, exist_ok=True)
    AutoModelForImageClassification.register(SelipConfig, SelipForVolumeClassification, exist_ok=True)
    AutoModelForSemanticSegmentation.register(SelipConfig, SelipForVolumeSegmentation, exist_ok=True)
    AutoImageProcessor.register(SelipConfig, image_processor_classes={"pil": SelipImageProcessor}, exist_ok=True)
    AutoProcessor.register(SelipConfig, SelipProcessor, exist_ok=True)
    for task, pipeline_class in PIPELINES.items():
        if task not in PIPELINE_REGISTRY.get_supported_tasks():
            PIPELINE_REGISTRY.register_pipeline(task, pipeline_class, pt_model=AutoModel, type="multimodal")
