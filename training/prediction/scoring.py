"""What gives whole studies a score for each label: prompts, or a head that was trained on labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from selip.modeling_selip import SelipConfig
from selip.modeling_selip.loss_selip import scale_of

from ..evaluate import load_checkpoint
from ..evaluation.embedding import embed_texts, image_features
from ..evaluation.heads import head_logits
from ..evaluation.metrics import unit_rows
from ..evaluation.probe import mean_of_series
from ..evaluation.series_source import BoxedSeries
from ..evaluation.zero_shot_protocol import load_protocol, shipped_protocols
from ..evaluation.zero_shot_scores import ZeroShotScorer
from ..finetuning.network import load_head_checkpoint
from ..network import weights_of
from .config import PredictConfig

FloatArray = npt.NDArray[np.float64]


class StudyScorer(Protocol):
    """Scores of whole studies."""

    def __call__(self, studies: Sequence[Sequence[BoxedSeries]]) -> FloatArray:
        """(N, K) scores of N studies, each of one series and more, for K labels."""
        ...


@dataclass(frozen=True)
class LoadedScorer:
    """A scorer with what belongs to it.

    Attributes:
        task: zero_shot or classification, as `selip evaluate` calls it.
        labels: K names.
        score: Gives the scores.
        image_processor: The checkpoint's own.
        sequences: MRI sequences that the checkpoint was trained on; all that it has names for, if it keeps no record.
        settings: What the scores depend on beside the checkpoint, for the metadata.
        shared_settings: Settings that a result must have to calibrate them.
        device: cpu or cuda.
    """

    task: str
    labels: tuple[str, ...]
    score: StudyScorer
    image_processor: Any
    sequences: tuple[str, ...]
    settings: dict[str, Any]
    shared_settings: dict[str, Any]
    device: str


@dataclass(frozen=True)
class PromptScorer:
    """Scores by prompts, as `selip evaluate --task zero_shot` gives them.

    Attributes:
        model: `SelipModel` in evaluation mode.
        prompts: What is asked.
        text_embeds: (M, E) of its texts, unit length.
    """

    model: Any
    prompts: ZeroShotScorer
    text_embeds: FloatArray

    @torch.inference_mode()
    def __call__(self, studies: Sequence[Sequence[BoxedSeries]]) -> FloatArray:
        """See `StudyScorer`; a study is the mean of its series, each embedded alone."""
        owners = [str(number) for number, series in enumerate(studies) for _ in series]
        embeds = image_features(self.model, [each for series in studies for each in series])
        means = mean_of_series(unit_rows(embeds), owners, [str(number) for number in range(len(studies))])
        scale = float(scale_of(self.model.logit_scale.detach()))
        scored = self.prompts.score(unit_rows(means).astype(np.float64), self.text_embeds, scale)
        return scored.margins[..., 0]


@dataclass(frozen=True)
class HeadScorer:
    """Scores of a head, as `selip evaluate --task classification` gives them.

    Attributes:
        model: `SelipForVolumeClassification` in evaluation mode.
    """

    model: Any

    def __call__(self, studies: Sequence[Sequence[BoxedSeries]]) -> FloatArray:
        """See `StudyScorer`."""
        return head_logits(self.model, studies).numpy().astype(np.float64)


def load_scorer(config: PredictConfig) -> LoadedScorer:
    """The checkpoint as what gives scores.

    Raises:
        FileNotFoundError: The checkpoint or the protocol is not there.
        ValueError: The checkpoint is of another kind, or a protocol is missing or too much.
    """
    weights_of(config.checkpoint, "the checkpoint")
    kinds = SelipConfig.from_pretrained(config.checkpoint).architectures or ["SelipModel"]
    if kinds == ["SelipForVolumeClassification"]:
        return _head(config)
    if kinds == ["SelipModel"]:
        return _prompts(config)
    raise ValueError(
        f"expected a checkpoint of `selip pretrain`, or of `selip finetune` for classification, got one of "
        f"{', '.join(kinds)} in {config.checkpoint}; masks are written by `selip segment`"
    )


def _head(config: PredictConfig) -> LoadedScorer:
    if config.protocol is not None:
        raise ValueError("expected no --protocol with a checkpoint that has labels of its own; leave it out")
    model, image_processor = load_head_checkpoint(config.checkpoint, "classification")
    names: dict[int, str] = dict(model.config.id2label or {})
    return LoadedScorer(
        task="classification",
        labels=tuple(names[number] for number in range(model.config.num_labels)),
        score=HeadScorer(model),
        image_processor=image_processor,
        sequences=_known_sequences(model, image_processor),
        settings={"score": "logit of the head"},
        shared_settings={},
        device=model.device.type,
    )


def _prompts(config: PredictConfig) -> LoadedScorer:
    if config.protocol is None:
        raise ValueError(
            "expected --protocol NAME or FILE.yaml with a checkpoint that has no labels of its own; shipped: "
            + ", ".join(shipped_protocols())
        )
    protocol = load_protocol(config.protocol)
    if config.labels:
        protocol = protocol.only(config.labels)
    model, processor = load_checkpoint(config.checkpoint)
    prompts = ZeroShotScorer(protocol, protocol.labels)
    texts = unit_rows(embed_texts(model, processor, prompts.texts, batch_size=4 * config.batch_size))
    named = {"protocol": protocol.name, "protocol_sha256": protocol.fingerprint}
    return LoadedScorer(
        task="zero_shot",
        labels=tuple(label.name for label in protocol.labels),
        score=PromptScorer(model, prompts, texts.astype(np.float64)),
        image_processor=processor.image_processor,
        sequences=_known_sequences(model, processor.image_processor),
        settings={
            **named,
            "protocol_version": protocol.version,
            "rule": protocol.rule,
            "score": "margin of the protocol's rule; for `margin` the cosine with X less that with no X",
            "study": "mean of its series' embeddings, each embedded alone, of unit length before and after",
        },
        shared_settings=named,
        device=model.device.type,
    )


def _known_sequences(model: Any, image_processor: Any) -> tuple[str, ...]:
    names = tuple(image_processor.sequence_names)
    population = model.vision_model.population
    if population is None:
        return names[1:]
    is_known = population.is_known.tolist()  # has room for names that are yet to come
    return tuple(name for number, name in enumerate(names) if is_known[number])


def checkpoint_folder_name(folder: Path) -> str:
    """How a checkpoint is called in results: RUN/best is called best."""
    return folder.resolve().name
