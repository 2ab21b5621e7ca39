"""Pipelines of Transformers for head MRI studies, which ship with a checkpoint (`custom_pipelines` in config.json).

    pipe = pipeline("zero-shot-volume-classification", model="runs/tiny/best", trust_remote_code=True)
    pipe({"FLAIR": "flair.nii.gz", "DWI": "dwi.nii.gz"}, candidate_labels=["acute infarct", "normal head MRI"])

A study is what the processor takes: a dict {sequence: volume}, a volume, or a list of series. A list given to a
pipeline is a list of studies, as in any pipeline; one study with two series of one sequence is a list within it.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import Pipeline

FEATURE_EXTRACTION = "volume-feature-extraction"
ZERO_SHOT_CLASSIFICATION = "zero-shot-volume-classification"


class SelipVolumePipeline(Pipeline):
    """What both pipelines share: one study at a time, and saving all that is needed to load again.

    Raises:
        ValueError: A batch size above 1 is asked for: studies differ in their number of series.
    """

    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.processor is None:
            raise ValueError(
                "expected a processor beside the model; pass processor=..., or the folder that holds both"
            )
        _refuse_batches(self._batch_size)

    def __call__(self, studies: Any, **kwargs: Any) -> Any:
        """Run on a study or a list of studies; options as of the pipeline."""
        _refuse_batches(kwargs.get("batch_size"))
        return super().__call__(studies, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save model, processor and the code of both and of the pipelines."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory)


class SelipVolumeFeatureExtractionPipeline(SelipVolumePipeline):
    """Embeddings of a study and of each of its series, of unit length.

    Returns:
        A dict (of each study of a list): `study`, E numbers, from all series together by the fusion of the model;
        `series`, a list of {"sequence", "embedding"} in the order given, each embedded as if it were alone. With
        `return_tensors=True` the embeddings are tensors (E,), else lists.

    Example:
        >>> pipe = pipeline("volume-feature-extraction", model=folder, trust_remote_code=True)
        >>> pipe({"FLAIR": "flair.nii.gz"})["study"]
    """

    def _sanitize_parameters(self, return_tensors: bool = False, **kwargs: Any) -> tuple[dict, dict, dict]:
        _refuse_options(kwargs, ("return_tensors",))
        return {}, {}, {"return_tensors": return_tensors}

    def preprocess(self, study: Any) -> dict[str, Any]:
        """Tensors of one study."""
        return dict(self.processor(images=_one_study(study)))

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        of_study = {name: model_inputs[name] for name in ("pixel_values", "series_mask", "sequence_ids", "patch_mask")}
        alone = {name: value[0][:, None] for name, value in of_study.items()}  # (1, S, ...) -> (S, 1, ...)
        return {
            "study": self.model.get_image_features(**of_study).pooler_output[0],
            "series": self.model.get_image_features(**alone).pooler_output,
            "sequence_ids": model_inputs["sequence_ids"][0],
        }

    def postprocess(self, model_outputs: dict[str, Any], return_tensors: bool = False) -> dict[str, Any]:
        """Names beside the numbers."""
        names = self.processor.image_processor.sequence_names

        def shown(embedding: torch.Tensor) -> Any:
            return embedding.float() if return_tensors else embedding.float().tolist()

        series = zip(model_outputs["sequence_ids"].tolist(), model_outputs["series"], strict=True)
        return {
            "study": shown(model_outputs["study"]),
            "series": [{"sequence": names[number], "embedding": shown(embedding)} for number, embedding in series],
        }


class SelipZeroShotVolumeClassificationPipeline(SelipVolumePipeline):
    """Scores of labels that are given as words, from all series of a study together.

    Without `negative_template` the labels exclude each other: softmax over all of them. With it each label stands
    alone against its own denial, softmax over the two, so several labels may be true of one study. Scores are not
    calibrated.

    Args (of a call):
        candidate_labels: Labels.
        hypothesis_template: Text of a label, with `{}` in its place.
        negative_template: Text of its denial, e.g. `no {}`.

    Returns:
        A list (of each study of a list) of {"label", "score", "cosine"}, the highest score first. `cosine` is that of
        the study and the text of the label.

    Example:
        >>> pipe = pipeline("zero-shot-volume-classification", model=folder, trust_remote_code=True)
        >>> pipe({"DWI": "dwi.nii.gz"}, candidate_labels=["acute infarct"], negative_template="no {}")
    """

    def _sanitize_parameters(
        self,
        candidate_labels: Sequence[str] | None = None,
        hypothesis_template: str | None = None,
        negative_template: str | None = None,
        **kwargs: Any,
    ) -> tuple[dict, dict, dict]:
        _refuse_options(kwargs, ("candidate_labels", "hypothesis_template", "negative_template"))
        given = {
            "candidate_labels": candidate_labels,
            "hypothesis_template": hypothesis_template,
            "negative_template": negative_template,
        }
        return {name: value for name, value in given.items() if value is not None}, {}, {}

    def preprocess(
        self,
        study: Any,
        candidate_labels: Sequence[str] = (),
        hypothesis_template: str = "{}",
        negative_template: str | None = None,
    ) -> dict[str, Any]:
        """Tensors of one study and of the texts: those of the labels, then those of their denials."""
        if isinstance(candidate_labels, str) or not candidate_labels:
            raise ValueError(f"expected candidate_labels, a list of at least one text, got {candidate_labels!r}")
        if len(set(candidate_labels)) < len(candidate_labels):
            raise ValueError(f"expected different candidate_labels, got {list(candidate_labels)}")
        texts = []
        for template in (hypothesis_template, negative_template):
            if template is None:
                continue
            if "{}" not in template:
                raise ValueError(f"expected a template with {{}} in the place of the label, got {template!r}")
            texts += [template.replace("{}", label) for label in candidate_labels]
        return {"labels": list(candidate_labels), **self.processor(images=_one_study(study), text=texts)}

    def _forward(self, model_inputs: dict[str, Any]) -> dict[str, Any]:
        inputs = {name: value for name, value in model_inputs.items() if name != "labels"}
        output = self.model(**inputs)
        return {
            "labels": model_inputs["labels"],
            "logits": output.logits_per_image[0].float(),
            "cosines": (output.image_embeds[0].float() @ output.text_embeds.float().T),
        }

    def postprocess(self, model_outputs: dict[str, Any]) -> list[dict[str, Any]]:
        """Labels with their scores, the highest first."""
        labels, logits = model_outputs["labels"], model_outputs["logits"]
        if len(logits) == len(labels):
            scores = logits.softmax(dim=-1)
        else:
            scores = logits.unflatten(0, (2, len(labels))).softmax(dim=0)[0]  # (2 K,) -> (2, K) -> (K,)
        cosines = model_outputs["cosines"][: len(labels)]  # those of the denials follow
        rows = zip(labels, scores.tolist(), cosines.tolist(), strict=True)
        found = [{"label": label, "score": score, "cosine": cosine} for label, score, cosine in rows]
        return sorted(found, key=lambda row: -row["score"])


PIPELINES: dict[str, type[SelipVolumePipeline]] = {
    FEATURE_EXTRACTION: SelipVolumeFeatureExtractionPipeline,
    ZERO_SHOT_CLASSIFICATION: SelipZeroShotVolumeClassificationPipeline,
}
"""Pipeline by task."""


def custom_pipelines() -> dict[str, dict[str, Any]]:
    """`custom_pipelines` of a config.json: the tasks, and where their classes stand beside the weights.

    A new dictionary each time: Transformers puts classes into the one that it reads.
    """
    return {
        task: {"impl": f"pipelines_selip.{found.__name__}", "pt": ["AutoModel"], "type": "multimodal"}
        for task, found in PIPELINES.items()
    }


def _one_study(study: Any) -> Any:
    """A study in the form that the processor takes for one: a list of series is one, not many studies."""
    return [study] if isinstance(study, list) else study


def _refuse_batches(batch_size: int | None) -> None:
    if batch_size not in (None, 1):
        raise ValueError(
            f"expected batch_size 1, got {batch_size}: studies differ in their number of series; give a list of "
            "studies without batch_size"
        )


def _refuse_options(options: Mapping[str, Any], allowed: Sequence[str]) -> None:
    if options:
        raise TypeError(f"expected options of {', '.join(allowed)}, got {', '.join(options)}")
