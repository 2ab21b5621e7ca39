"""From the volumes table and the findings table to batches.

A batch is B studies with S series slots and P texts (architecture: the batch contract). What a study shows and says in
an epoch is drawn from (seed, epoch, study id) alone, so it does not depend on the number of processes, on workers, or
on where training was interrupted. Texts are unique in the global batch; a study whose text is taken waits for the next
one. Only normal studies may be allowed to repeat theirs.
"""

import hashlib
import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, get_args

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from selip.processing.findings import StructuredReport
from selip.processing.laterality import swap_laterality
from selip.processing.rendering import (
    TextItem,
    finding_texts,
    impression_text,
    series_text,
    written_text,
)

from .augmentation import VolumeChange, apply_change, draw_change, draw_patches, head_patches
from .config import AugmentationConfig, PretrainData, TextKind
from .text_features import TextFeatures
from .text_similarity import TextSimilarity
from .volumes import SeriesRow, VolumesTable


@dataclass(frozen=True)
class DrawnText:
    """A text item and the series slots of its study that it speaks of; item None pads the batch."""

    item: TextItem | None
    slots: tuple[int, ...]

    @property
    def string(self) -> str:
        """The text itself; padding is empty."""
        return "" if self.item is None else self.item.text


@dataclass(frozen=True)
class DrawnStudy:
    """What one study brings to a batch: some of its series, how they are changed, and its texts.

    The patches of its series are drawn from `patch_seed` when the batch is made: an epoch of masks would fill memory.
    """

    study_id: str
    series: tuple[SeriesRow, ...]
    changes: tuple[VolumeChange, ...]
    shown_sequence_ids: tuple[int, ...]
    texts: tuple[DrawnText, ...]
    patch_seed: int

    @property
    def strings(self) -> set[str]:
        """The texts as strings, to keep a batch free of repetitions."""
        return {text.item.text for text in self.texts if text.item is not None}


@dataclass(frozen=True)
class Study:
    """A study as pretraining sees it: its prepared series, its findings, and its findings section as written."""

    study_id: str
    series: tuple[SeriesRow, ...]
    report: StructuredReport
    written: str


class StudyTexts:
    """The text items of studies, rendered once."""

    def __init__(self, config: PretrainData):
        self.config = config
        self._series: dict[tuple[str, str], TextItem | None] = {}

    def of_series(self, study: Study, sequence: str) -> TextItem | None:
        """What is seen in one sequence; None where the report says nothing of it."""
        key = (study.study_id, sequence)
        if key not in self._series:
            self._series[key] = series_text(study.report, sequence, self.config.language, unnamed=self.config.unnamed)
        return self._series[key]

    def of_findings(self, study: Study, sequence: str) -> list[TextItem]:
        """One text for each finding seen in the sequence."""
        return finding_texts(study.report, sequence, self.config.language, unnamed=self.config.unnamed)

    def of_impression(self, study: Study) -> TextItem | None:
        """The conclusion of the study."""
        return impression_text(study.report, self.config.language)

    def of_report(self, study: Study) -> TextItem | None:
        """The findings section as written, compared with others by its structured findings."""
        return written_text(study.report, study.written, self.config.language)

    def of_study(self, study: Study, kinds: Collection[str]) -> list[TextItem]:
        """Every text of the study of these kinds (`PretrainData.text_items`)."""
        items: list[TextItem | None] = []
        if "impression" in kinds:
            items.append(self.of_impression(study))
        if "report" in kinds:
            items.append(self.of_report(study))
        for row in study.series:
            if "series" in kinds:
                items.append(self.of_series(study, row.sequence))
            if "finding" in kinds:
                items.extend(self.of_findings(study, row.sequence))
        return [item for item in items if item is not None]

    def corpus(self, studies: Sequence[Study]) -> Iterator[str]:
        """Every text that training on these studies can meet, of all kinds, sides exchanged as well."""
        for study in studies:
            for item in self.of_study(study, get_args(TextKind)):
                yield item.text
                yield swap_laterality(item).text


class BatchSource:
    """Batch number `step` of a run, for one process of `num_processes`."""

    def __init__(
        self,
        studies: Sequence[Study],
        table: VolumesTable,
        tokenizer: PreTrainedTokenizerBase,
        data: PretrainData,
        augmentation: AugmentationConfig,
        similarity: TextSimilarity,
        *,
        seed: int,
        token_budget: int | None = None,
        process_index: int = 0,
        num_processes: int = 1,
        text_features: TextFeatures | None = None,
    ):
        """
        Args:
            studies: training studies; those without any text are left out (`num_without_text`).
            tokenizer: tokenizer of the text tower.
            similarity: what the soft targets are made of.
            token_budget: most patches of a series in `patch_mask`, a random subset of those that show head; None: all.
            text_features: what a frozen text tower makes of each text; batches then hold it in the place of tokens.

        Raises:
            ValueError: the batch does not divide among the processes, or a batch cannot be filled with unique texts.
        """
        if data.batch_studies % num_processes:
            raise ValueError(
                f"expected batch_studies to be a multiple of the {num_processes} processes, got {data.batch_studies}"
            )
        self.table, self.tokenizer, self.data, self.augmentation = table, tokenizer, data, augmentation
        self.similarity = similarity
        self.seed, self.process_index, self.num_processes = seed, process_index, num_processes
        self.token_budget = token_budget
        self.text_features = text_features
        self.texts = StudyTexts(data)
        self.spacing_mm = table.processor_config["spacing_mm"]
        speaking = [study for study in studies if self._speaking_series(study, None)]
        self.num_without_text = len(studies) - len(speaking)
        self.studies = {study.study_id: study for study in sorted(speaking, key=lambda study: study.study_id)}
        self._plans: dict[int, list[list[DrawnStudy]]] = {}
        self._lengths: dict[int, int] = {}
        if not self.plan(0):
            raise ValueError(
                f"expected enough studies for one batch of {data.batch_studies} with unique texts, got "
                f"{len(speaking)} studies with text; lower data.batch_studies or bring more studies"
            )

    def plan(self, epoch: int) -> list[list[DrawnStudy]]:
        """The batches of an epoch: every study at most once in the mixed ones, once a sequence in those of one."""
        if epoch not in self._plans:
            # the epoch in work is all that is needed again; of others their length is enough
            self._plans = {epoch: self._fill(epoch)}
            self._lengths[epoch] = len(self._plans[epoch])
        return self._plans[epoch]

    def locate(self, step: int) -> tuple[int, int]:
        """Epoch and batch within it of a step of the run."""
        epoch = 0
        while True:
            if epoch not in self._lengths:
                self.plan(epoch)
            if step < self._lengths[epoch]:
                return epoch, step
            step -= self._lengths[epoch]
            epoch += 1

    def drawn(self, step: int) -> list[DrawnStudy]:
        """What the studies of a batch show and say, over all processes."""
        epoch, index = self.locate(step)
        return self.plan(epoch)[index]

    def batch(self, step: int) -> dict[str, torch.Tensor | dict[str, torch.Tensor]]:
        """
        Returns:
            `inputs`: arguments of the model for this process's studies; `text_study` (P,), `text_mask` (P,) and
            `similarity` (P, P) over the texts of all processes, in rank order.
        """
        drawn = self.drawn(step)
        share = len(drawn) // self.num_processes
        own = drawn[self.process_index * share : (self.process_index + 1) * share]
        texts = [text for study in drawn for text in study.texts]
        text_study = [number for number, study in enumerate(drawn) for _ in study.texts]
        return {
            "inputs": {**self.images(own), **self._views(own), **self._texts(texts)},
            "text_study": torch.tensor(text_study),
            "text_mask": torch.tensor([text.item is not None for text in texts]),
            "similarity": torch.from_numpy(self.similarity([text.item for text in texts], text_study)),
        }

    def _fill(self, epoch: int) -> list[list[DrawnStudy]]:
        generator = np.random.default_rng([self.seed, epoch])
        batches: list[list[DrawnStudy]] = []
        if self.data.batch_sequences != "mixed":
            for sequence in sorted({row.sequence for study in self.studies.values() for row in study.series}):
                speaking = [name for name, study in self.studies.items() if self._speaking_series(study, sequence)]
                batches += self._fill_from(speaking, sequence, epoch, generator)
        if self.data.batch_sequences != "one":
            batches += self._fill_from(list(self.studies), None, epoch, generator)
        return [batches[place] for place in generator.permutation(len(batches))]

    def _fill_from(
        self, study_ids: Sequence[str], sequence: str | None, epoch: int, generator: np.random.Generator
    ) -> Iterator[list[DrawnStudy]]:
        """Batches of these studies, of one sequence where it is given; what does not fill a batch is left over."""
        is_normal = np.array([self.studies[study_id].report.normal for study_id in study_ids])
        names = np.array(study_ids)
        normal = deque(generator.permutation(names[is_normal]).tolist())
        abnormal = deque(generator.permutation(names[~is_normal]).tolist())
        num_normal = round(self.data.normal_rate * self.data.batch_studies)
        while True:
            batch: list[DrawnStudy] = []
            self._take(batch, normal, num_normal, sequence, epoch, may_repeat=self.data.repeat_normal)
            self._take(batch, abnormal, self.data.batch_studies, sequence, epoch)
            if len(batch) < self.data.batch_studies:
                return
            yield [batch[place] for place in generator.permutation(len(batch))]

    def _take(
        self,
        batch: list[DrawnStudy],
        waiting: deque[str],
        until: int,
        sequence: str | None,
        epoch: int,
        *,
        may_repeat: bool = False,
    ) -> None:
        """Moves studies with texts new to the batch from the queue to it, until it has `until`; others keep turn."""
        used = set().union(*(study.strings for study in batch)) if batch else set()
        passed_over = []
        while waiting and len(batch) < until:
            study_id = waiting.popleft()
            drawn = self._draw(self.studies[study_id], sequence, epoch)
            if drawn.strings & used and not may_repeat:
                passed_over.append(study_id)
                continue
            used |= drawn.strings
            batch.append(drawn)
        waiting.extendleft(reversed(passed_over))

    def _draw(self, study: Study, sequence: str | None, epoch: int) -> DrawnStudy:
        generator = drawing_generator(self.seed, epoch, f"{study.study_id}\0{sequence}")
        is_flipped = bool(generator.random() < self.augmentation.flip_probability)
        speaking = self._speaking_series(study, sequence)
        chosen = generator.permutation(len(speaking))[: self.data.series_per_study]
        series = tuple(speaking[position] for position in sorted(chosen))
        changes = tuple(
            draw_change(
                self.augmentation, generator, spacing_mm=self.spacing_mm, sequence=row.sequence, is_flipped=is_flipped
            )
            for row in series
        )
        shown = tuple(
            0 if generator.random() < self.augmentation.drop_sequence_id else row.sequence_id for row in series
        )
        texts = self._draw_texts(study, series, generator)
        if is_flipped:
            texts = [
                DrawnText(None if text.item is None else swap_laterality(text.item), text.slots) for text in texts
            ]
        patch_seed = int(generator.integers(2**63))
        return DrawnStudy(study.study_id, series, changes, shown, tuple(texts), patch_seed)

    def _draw_texts(
        self, study: Study, series: tuple[SeriesRow, ...], generator: np.random.Generator
    ) -> list[DrawnText]:
        """The texts of a study in a fixed number: `series_per_study` of each series kind, one of each study kind."""
        everything = tuple(range(len(series)))
        texts = []
        for kind in self.data.text_items:
            if kind == "impression":
                texts.append(DrawnText(self.texts.of_impression(study), everything))
            elif kind == "report":
                texts.append(DrawnText(self.texts.of_report(study), everything))
            else:
                for slot in range(self.data.series_per_study):
                    item = None
                    if slot < len(series) and kind == "series":
                        item = self.texts.of_series(study, series[slot].sequence)
                    elif slot < len(series):
                        choices = self.texts.of_findings(study, series[slot].sequence)
                        item = choices[generator.integers(len(choices))] if choices else None
                    texts.append(DrawnText(item, (slot,)))
        return texts

    def _speaking_series(self, study: Study, sequence: str | None) -> list[SeriesRow]:
        """Series that a text of the wanted kinds speaks of (study texts speak of all), of one sequence or of any."""
        kinds = set(self.data.text_items)
        rows = [row for row in study.series if sequence in (None, row.sequence)]
        says_impression = "impression" in kinds and self.texts.of_impression(study) is not None
        if says_impression or ("report" in kinds and self.texts.of_report(study) is not None):
            return rows
        return [row for row in rows if self.texts.of_series(study, row.sequence) is not None]

    def images(self, drawn: Sequence[DrawnStudy]) -> dict[str, torch.Tensor]:
        """Augmented volumes of drawn studies, see `image_batch`."""
        return image_batch(drawn, self.table, slots=self.data.series_per_study, token_budget=self.token_budget)

    def _views(self, drawn: list[DrawnStudy]) -> dict[str, torch.Tensor]:
        texts = [(number, text) for number, study in enumerate(drawn) for text in study.texts]
        spoken_of = torch.zeros(len(texts), self.data.series_per_study, dtype=torch.bool)
        for position, (_, text) in enumerate(texts):
            spoken_of[position, list(text.slots)] = True
        return {"text_study": torch.tensor([number for number, _ in texts]), "text_series_mask": spoken_of}

    def _texts(self, texts: list[DrawnText]) -> dict[str, torch.Tensor]:
        """This process's share of the texts of the batch."""
        share = len(texts) // self.num_processes
        own = slice(self.process_index * share, (self.process_index + 1) * share)
        if self.text_features is not None:
            return {"text_features": self.text_features([text.string for text in texts[own]])}
        # padded to the longest text of all processes: the draw of dropout depends on the length
        encoded = self.tokenizer(
            [text.string for text in texts],
            padding=True,
            truncation=True,
            max_length=self.data.max_text_tokens,
            return_tensors="pt",
        )
        return {name: encoded[name][own] for name in ("input_ids", "attention_mask")}


def drawing_generator(seed: int, epoch: int, name: str) -> np.random.Generator:
    """What is drawn for a study in an epoch: of these three alone, so on no process, worker or earlier draw."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng([seed, epoch, int.from_bytes(digest[:8], "little")])


def image_batch(
    drawn: Sequence[DrawnStudy], table: VolumesTable, *, slots: int, token_budget: int | None
) -> dict[str, torch.Tensor]:
    """Augmented volumes as the model takes them: `pixel_values`, `series_mask`, `sequence_ids`, `patch_mask`.

    Args:
        drawn: B studies.
        table: where their series are.
        slots: S, at least as many as a study brings series.
        token_budget: most patches of a series in `patch_mask`, a random subset of those that show head; None: all.
    """
    settings = table.processor_config
    shape, patch_size = settings["spatial_size"], settings["patch_size"]
    grid = [size // step for size, step in zip(shape, patch_size, strict=True)]
    pixel_values = np.zeros((len(drawn), slots, *shape), dtype=np.float32)
    series_mask = np.zeros((len(drawn), slots), dtype=bool)
    sequence_ids = np.zeros((len(drawn), slots), dtype=np.int64)
    patch_mask = np.zeros((len(drawn), slots, *grid), dtype=bool)
    for number, study in enumerate(drawn):
        generator = np.random.default_rng(study.patch_seed)
        for slot, (row, change) in enumerate(zip(study.series, study.changes, strict=True)):
            pixel_values[number, slot] = apply_change(table.read(row.row), change)
            series_mask[number, slot] = True
            sequence_ids[number, slot] = study.shown_sequence_ids[slot]
            is_head = head_patches(table.patch_counts(row.row), change, patch_size)
            patch_mask[number, slot] = draw_patches(is_head, token_budget, generator)
    return {
        "pixel_values": torch.from_numpy(pixel_values),
        "series_mask": torch.from_numpy(series_mask),
        "sequence_ids": torch.from_numpy(sequence_ids),
        "patch_mask": torch.from_numpy(patch_mask),
    }


def read_studies(
    table: VolumesTable, findings: Mapping[str, StructuredReport], written: Mapping[str, str], split: str
) -> list[Study]:
    """Joins the prepared series of a split with findings and written report sections by study id.

    Args:
        table: the volumes table.
        findings: structured report of each study.
        written: findings section of each study as written.
        split: train, validation or test.

    Raises:
        ValueError: no study of the split has both volumes and findings.
    """
    studies = [
        Study(study_id, tuple(table.series_of(study_id)), findings[study_id], written.get(study_id, ""))
        for study_id in table.study_ids(split)
        if study_id in findings
    ]
    if not studies:
        raise ValueError(
            f"expected studies of split {split!r} with both volumes and findings, got none; do the two tables come "
            "from the same studies table?"
        )
    return studies


class Named(Protocol):
    """Anything with the id of a study."""

    @property
    def study_id(self) -> str: ...


NamedT = TypeVar("NamedT", bound=Named)


def choose_studies(studies: Sequence[NamedT], share: float) -> list[NamedT]:
    """A share of the studies, in their order: those whose ids have the lowest SHA-256, so that fewer are among more.

    Args:
        studies: N studies.
        share: above 0, at most 1; rounded up to whole studies.
    """
    ranked = sorted(studies, key=lambda study: hashlib.sha256(study.study_id.encode()).digest())
    chosen = {study.study_id for study in ranked[: math.ceil(share * len(studies))]}
    return [study for study in studies if study.study_id in chosen]
