"""The retrieval gallery of a data set: which series ask, which texts answer, and which answers are right.

It is built from the studies table and its reference findings alone, so it is one and the same for every checkpoint,
and whatever structurer made the training texts does not change it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from selip.processing.findings import Finding, StructuredReport, is_abnormal
from selip.processing.rendering import TextItem, is_visible, series_text, study_text

from .relevance import SAME_FINDINGS, FindingSet, finding_set, relevance_grades

# Stands for the sequence where an image is a whole study.
STUDY = "study"


@dataclass(frozen=True)
class GalleryImage:
    """One series, or one study: a query for texts and a candidate for text queries.

    Attributes:
        series_id: Id of the series; empty for a study.
        sequence: MRI sequence of the series; `STUDY` for a study.
        text: Index of its own text in `RetrievalGallery.texts`.
        findings: What the sequence can show of the study; empty = normal.
    """

    study_id: str
    patient_id: str
    series_id: str
    sequence: str
    text: int
    findings: FindingSet


@dataclass(frozen=True)
class GalleryText:
    """One text of one sequence, unique within it.

    Attributes:
        findings: The finding sets of the studies that it was rendered from; more than one where texts coincide.
    """

    sequence: str
    text: str
    findings: tuple[FindingSet, ...]

    @property
    def is_normal(self) -> bool:
        """True if it is the sentence of a normal study."""
        return self.findings == ((),)


@dataclass(frozen=True)
class RetrievalGallery:
    """Series and texts of one data set, with their relevance.

    Attributes:
        images: N series.
        texts: M texts; those of one sequence are that sequence's candidates.
        references: Number of studies by where their findings come from, "truth" or "findings_table".
        skipped: Number of series or studies that are not in the gallery, by reason.
    """

    images: tuple[GalleryImage, ...]
    texts: tuple[GalleryText, ...]
    references: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.images:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.items()) or "no study was given"
            raise ValueError(f"expected at least one series with a text to retrieve, got none ({reasons})")

    @property
    def sequences(self) -> tuple[str, ...]:
        """Sequences that have a series, in the order of their first one."""
        return tuple(dict.fromkeys(image.sequence for image in self.images))

    def members(self, sequence: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Indices of the images (n,) and of the texts (m,) of one sequence."""
        images = [index for index, image in enumerate(self.images) if image.sequence == sequence]
        texts = [index for index, text in enumerate(self.texts) if text.sequence == sequence]
        return np.array(images, dtype=np.int64), np.array(texts, dtype=np.int64)

    def grades(self, sequence: str) -> npt.NDArray[np.int8]:
        """Relevance grades (n, m) 0 ... 3 between the images and the texts of one sequence, in the order of `members`.

        3 is a hit: the series' own text, or one with the same finding set. A text that several finding sets share
        counts as the most relevant of them.
        """
        images, texts = self.members(sequence)
        sets = sorted({s for t in texts for s in self.texts[t].findings} | {self.images[i].findings for i in images})
        number_of = {each: number for number, each in enumerate(sets)}
        between_sets = relevance_grades(sets)  # (U, U)
        columns = [
            between_sets[:, [number_of[s] for s in self.texts[text].findings]].max(axis=1)  # (U,)
            for text in texts
        ]
        of_sets = np.stack(columns, axis=1)  # (U, m)
        result = of_sets[[number_of[self.images[image].findings] for image in images]]  # (n, m)
        own = np.array([self.images[image].text for image in images])
        result[own[:, None] == texts[None, :]] = SAME_FINDINGS
        return result

    def keep_images(self, kept: Sequence[bool], reasons: Mapping[str, int]) -> "RetrievalGallery":
        """The gallery without some series, for instance unreadable ones; the candidate texts stay all of them.

        Args:
            kept: (N,) which series stay.
            reasons: Number of the others by reason, added to `skipped`.

        Raises:
            ValueError: Another number of flags than of series.
        """
        if len(kept) != len(self.images):
            raise ValueError(f"expected {len(self.images)} flags, one for each series, got {len(kept)}")
        images = tuple(image for image, keep in zip(self.images, kept, strict=True) if keep)
        return replace(self, images=images, skipped=dict(Counter(self.skipped) + Counter(reasons)))

    def fingerprint(self) -> str:
        """SHA-256 over ids, sequences, texts and findings: equal galleries have equal fingerprints."""
        digest = hashlib.sha256()
        for image in self.images:
            own = (image.study_id, image.patient_id, image.series_id, image.sequence, self.texts[image.text].text)
            digest.update(repr((own, image.findings)).encode())
        for text in self.texts:
            digest.update(repr((text.sequence, text.text, text.findings)).encode())
        return digest.hexdigest()


def build_gallery(
    studies: Iterable[Mapping[str, Any]], findings: Mapping[str, StructuredReport] | None = None
) -> RetrievalGallery:
    """Render every series' text from the reference findings and collect the unique ones of each sequence.

    The reference of a study is its `reference_findings` (truth) where there are any, else its entry in `findings`.

    Args:
        studies: Rows of the studies table; used are `study_id`, `patient_id`, `language`, `reference_findings` and of
            each series `series_id` and `sequence`.
        findings: Structured reports by study id for studies without truth. A gallery that needs them depends on the
            structurer; `references` says for how many studies.

    Raises:
        ValueError: A series id occurs twice in one study, or nothing is left to retrieve.
    """
    collected = _Collected()
    for study in studies:
        report = collected.reference(study, findings)
        if report is None:
            continue
        study_id, language = str(study["study_id"]), _language(study)
        series_ids = [str(series["series_id"]) for series in study["series"]]
        if len(set(series_ids)) < len(series_ids):
            raise ValueError(f"expected unique series ids, got a repeated one in study {study_id}")
        for series_id, series in zip(series_ids, study["series"], strict=True):
            sequence = str(series["sequence"])
            item = series_text(report, sequence, language)
            if item is None:
                collected.skipped["series that the report does not speak of"] += 1
                continue
            seen = [each for each in report.findings if is_abnormal(each) and is_visible(each, sequence)]
            collected.add(study, series_id, sequence, item, seen)
    return collected.gallery()


def build_study_gallery(
    studies: Iterable[Mapping[str, Any]], findings: Mapping[str, StructuredReport] | None = None
) -> RetrievalGallery:
    """Whole studies and their texts, all findings in one, no sequence named; arguments as for `build_gallery`.

    Raises:
        ValueError: Nothing is left to retrieve.
    """
    collected = _Collected()
    for study in studies:
        report = collected.reference(study, findings)
        item = None if report is None else study_text(report, _language(study))
        if report is not None and item is not None:
            collected.add(study, "", STUDY, item, [each for each in report.findings if is_abnormal(each)])
        elif report is not None:
            collected.skipped["study that the report says nothing of"] += 1
    return collected.gallery()


class _Collected:
    """Images and unique texts as they come."""

    def __init__(self) -> None:
        self.images: list[GalleryImage] = []
        self.text_index: dict[tuple[str, str], int] = {}
        self.sets_of_text: list[dict[FindingSet, None]] = []
        self.references: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def reference(
        self, study: Mapping[str, Any], findings: Mapping[str, StructuredReport] | None
    ) -> StructuredReport | None:
        """The findings of a study, counted by where they come from; None where there are none."""
        found = _reference_report(study, findings)
        if found is None:
            self.skipped["study without reference findings"] += 1
            return None
        self.references[found[0]] += 1
        return found[1]

    def add(
        self, study: Mapping[str, Any], series_id: str, sequence: str, item: TextItem, seen: Sequence[Finding]
    ) -> None:
        """An image with its text and what can be seen."""
        findings = finding_set([(each.finding, each.site, each.laterality) for each in seen])
        index = self.text_index.setdefault((sequence, item.text), len(self.text_index))
        if index == len(self.sets_of_text):
            self.sets_of_text.append({})
        self.sets_of_text[index][findings] = None
        study_id, patient_id = str(study["study_id"]), str(study["patient_id"])
        self.images.append(GalleryImage(study_id, patient_id, series_id, sequence, index, findings))

    def gallery(self) -> RetrievalGallery:
        """What was collected."""
        texts = tuple(
            GalleryText(sequence, text, tuple(sorted(sets)))
            for (sequence, text), sets in zip(self.text_index, self.sets_of_text, strict=True)
        )
        return RetrievalGallery(tuple(self.images), texts, dict(self.references), dict(self.skipped))


def _reference_report(
    study: Mapping[str, Any], findings: Mapping[str, StructuredReport] | None
) -> tuple[str, StructuredReport] | None:
    """Where the findings of a study come from, and the findings; None where there are none."""
    if study["reference_findings"]:
        return "truth", StructuredReport.model_validate_json(study["reference_findings"])
    if findings is not None and study["study_id"] in findings:
        return "findings_table", findings[study["study_id"]]
    return None


def _language(study: Mapping[str, Any]) -> Literal["en", "zh"]:
    language = str(study["language"])
    if language not in ("en", "zh"):
        raise ValueError(f"expected language en or zh, got {language!r}")
    return cast(Literal["en", "zh"], language)
