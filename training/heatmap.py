"""`selip heatmap`: a study and a text in, for every series a map on its own grid and a picture out.

    selip heatmap runs/tiny/best sub-01/ "FLAIR: left frontal lobe shows glioma." heatmaps

A map tells what each place adds to the cosine of the series with the text. Its values are those of the positions of
the last feature map, in between by linear interpolation; over the positions they sum to the cosine, less that of a
series that says nothing. Not a medical device.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers.utils.logging import disable_progress_bar

from selip.processing.atomic_files import write_json
from selip.processing.geometry_selip import resample

from .evaluate import load_checkpoint
from .evaluation.embedding import embed_texts, series_maps
from .evaluation.figures import require_matplotlib
from .evaluation.lesions import head_of, highest_voxel, map_on_box
from .evaluation.localization_figures import draw_overlay
from .evaluation.provenance import checkpoint_fingerprint
from .evaluation.series_source import BoxedSeries
from .heatmap_config import HeatmapConfig
from .one_study import OneStudy, open_study, write_image
from .search.pictures import viewed

logger = logging.getLogger(__name__)

SUMMARY_NAME = "heatmap.json"
_BATCH = 4


@dataclass(frozen=True)
class HeatmapSummary:
    """What was written.

    Attributes:
        out: The folder.
        series: Of each series `sequence`, `map` and `overlay` (file names), `cosine` with the text, `cosine_against`,
            `sum` of its map over the positions, and `highest_mm`, the scanner's RAS+ place of its highest voxel in the
            head.
        left_out: Why others were not read, by their name.
    """

    out: Path
    series: dict[str, dict[str, Any]]
    left_out: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{self.out}: {len(self.series)} maps"]
        for name, each in self.series.items():
            at = ", ".join(f"{value:.0f}" for value in each["highest_mm"])
            told = "" if each["cosine"] is None else f"cosine {each['cosine']:.3f}, "
            lines.append(f"{name} as {each['sequence']}: {told}highest at ({at}) mm")
        lines += [f"left out {name} ({reason})" for name, reason in self.left_out.items()]
        return "\n".join([*lines, "not a medical device: for research only"])


def heatmap(config: HeatmapConfig) -> HeatmapSummary:
    """Write the maps of a study for a text.

    Raises:
        FileExistsError: The folder has a summary already and `overwrite` is False.
        FileNotFoundError: Source or checkpoint is not there.
        ModuleNotFoundError: Pictures are asked for without the extra `plots`.
        ValueError: No series can be used, or the network cannot be asked this way.
    """
    summary = config.out / SUMMARY_NAME
    if summary.exists() and not config.overwrite:
        raise FileExistsError(f"{summary} exists; choose another folder, or say --overwrite")
    if config.num_slices:
        require_matplotlib()
    disable_progress_bar()  # Transformers draws one for reading the weights, which takes no time
    model, processor = load_checkpoint(config.checkpoint)
    study = open_study(config.source, processor.image_processor, sequence=config.sequence, study=config.study)
    if any(each.sequence_id == 0 for each in study.series.values()):
        logger.warning("the sequence of a series is not known; give it by its name, or by --sequence with one file")
    found = {name: _positions(config, model, processor, each) for name, each in study.series.items()}
    config.out.mkdir(parents=True, exist_ok=True)
    head = head_of(list(study.series.values()), processor.image_processor)
    series = {}
    for name, (positions, cosines) in found.items():
        box = map_on_box(positions, processor.image_processor)
        series[name] = {
            "sequence": study.sequences[name],
            **_written(config, study, name, box, processor.image_processor),
            "cosine": cosines.get("text"),
            "cosine_against": cosines.get("against"),
            "sum": float(positions.sum()),
            "highest_mm": _highest_mm(box, head, study.series[name].affine),
        }
    content = {
        "text": config.text,
        "against": config.against,
        "method": config.method,
        "checkpoint": {"name": config.checkpoint.resolve().name, "sha256": checkpoint_fingerprint(config.checkpoint)},
        "study_id": study.study_id,
        "series": series,
        "left_out": dict(study.left_out),
    }
    write_json(summary, content)
    return HeatmapSummary(config.out, series, dict(study.left_out))


def _positions(
    config: HeatmapConfig, model: Any, processor: Any, series: BoxedSeries
) -> tuple[npt.NDArray[np.float32], dict[str, float]]:
    """The map of one series (gx, gy, gz), and its cosines by what they are with."""
    if config.method == "rollout":
        model.set_attn_implementation("eager")
        rolled = model.compute_attention_rollout(
            torch.from_numpy(series.volume)[None, None].to(model.device),
            sequence_ids=torch.tensor([[series.sequence_id]], device=model.device),
        )
        return rolled[0, 0].float().cpu().numpy(), {}
    texts = [config.text] if config.against is None else [config.text, config.against]
    maps, cosines = series_maps(model, series, embed_texts(model, processor, texts, batch_size=_BATCH))
    named = dict(zip(("text", "against")[: len(texts)], map(float, cosines), strict=True))
    return (maps[0] if config.against is None else maps[0] - maps[1]), named


def _written(
    config: HeatmapConfig, study: OneStudy, name: str, box: npt.NDArray[np.float32], image_processor: Any
) -> dict[str, str | None]:
    """Writes the map of a series on its own grid, and the picture; their file names."""
    file = config.out / f"{_file_name(name)}_heatmap.nii.gz"
    affine = study.series[name].affine
    write_image(image_processor.to_native(box, affine, like=study.volumes[name]), file)
    if not config.num_slices:
        return {"map": file.name, "overlay": None}
    picture = config.out / f"{_file_name(name)}_heatmap.png"
    viewer, view = viewed(study.volumes[name], study.sequences[name], name)
    values, _ = resample(box, affine, view.affine, tuple(viewer.spatial_size))
    is_rollout = config.method == "rollout"
    what = "share of what is read" if is_rollout else "adds to the cosine with the text"
    told = "attention rollout, whatever the text" if is_rollout else config.text
    draw_overlay(
        view.volumes[0],
        values,
        np.asarray(view.head_mask),
        viewer.spacing_mm,
        picture,
        title=f"{study.sequences[name]} series.  {told}"
        + ("" if config.against is None else f"  Against: {config.against}"),
        unit=what,
        num_slices=config.num_slices,
    )
    return {"map": file.name, "overlay": picture.name}


def _file_name(series_id: str) -> str:
    """A series id as part of a file name."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in series_id)


def _highest_mm(
    box: npt.NDArray[np.float32], head: npt.NDArray[np.bool_], affine: npt.NDArray[np.float64]
) -> list[float]:
    """Where the map is highest within the head, in scanner mm."""
    place = np.array([*highest_voxel(box, head), 1.0])
    return [round(float(value), 1) for value in (affine @ place)[:3]]
