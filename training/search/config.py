"""Options of `selip embed`, `index` and `search`. Standard library only: `selip --help` reads it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class EmbedConfig:
    """Options of `selip embed`. The help text of each field is its documentation."""

    checkpoint: Path = field(metadata={"help": "Folder of a checkpoint: model.safetensors, configuration, processor."})
    source: Path = field(
        metadata={
            "help": "A NIfTI file; the folder of one study (all NIfTI in it, sequences told from BIDS names, else "
            "`unknown`); or a studies table, as `selip ingest` writes it."
        }
    )
    out: Path = field(metadata={"help": "File for the embeddings (.parquet), one row a series and one a study."})
    sequence: str | None = field(
        default=None, metadata={"help": "MRI sequence of a single file, e.g. FLAIR; without it told from its name."}
    )
    volumes: Path | None = field(
        default=None, metadata={"help": "Volumes table of a studies table; without one the NIfTI files are read."}
    )
    split: Literal["all", "train", "validation", "test"] = field(
        default="all", metadata={"help": "Studies of a table that are embedded."}
    )
    batch_size: int = field(default=16, metadata={"help": "Series embedded at once."})
    overwrite: bool = field(
        default=False, metadata={"help": "Replace embeddings that are already there, also unfinished other ones."}
    )

    def __post_init__(self) -> None:
        if self.out.suffix != ".parquet":
            raise ValueError(f"expected out to end in .parquet, got {self.out.name}")
        if self.batch_size < 1:
            raise ValueError(f"expected batch_size of at least 1, got {self.batch_size}")


@dataclass(frozen=True)
class IndexConfig:
    """Options of `selip index`. The help text of each field is its documentation."""

    embeddings: Path = field(metadata={"help": "Embeddings, as `selip embed` writes them."})
    out: Path = field(metadata={"help": "Folder for the index."})
    studies: Path | None = field(
        default=None,
        metadata={
            "help": "Studies table of the same studies: where the volumes are, for pictures, and true findings."
        },
    )
    findings: Path | None = field(
        default=None,
        metadata={
            "help": "Findings table, as `selip structure` writes it, for filters; it goes before true findings of the "
            "studies table. Verbatim words of reports are left out of the index."
        },
    )
    faiss: bool = field(
        default=False,
        metadata={
            "help": "Add FAISS graphs (HNSW), for millions of rows: approximate, and used only where no filter is "
            "given. Needs the extra `search`."
        },
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace an index that is already there."})


@dataclass(frozen=True)
class SearchConfig:
    """Options of `selip search`. The help text of each field is its documentation."""

    index: Path = field(metadata={"help": "Folder of an index, as `selip index` writes it."})
    text: str | None = field(default=None, metadata={"help": "Query: a text, e.g. 'left thalamus shows hemorrhage'."})
    study: str | None = field(
        default=None,
        metadata={"help": "Query: a study of the index, by its id; with a sequence its series of that one."},
    )
    image: Path | None = field(default=None, metadata={"help": "Query: a NIfTI file."})
    sequence: str | None = field(
        default=None,
        metadata={"help": "Search among series of this MRI sequence; the series of a query are of it too."},
    )
    level: Literal["auto", "series", "study"] = field(
        default="auto",
        metadata={"help": "What is found; auto: series where a sequence or an image is given, else studies."},
    )
    finding: str | None = field(default=None, metadata={"help": "Filter: a finding, e.g. hemorrhage."})
    site: str | None = field(
        default=None, metadata={"help": "Filter: its site, e.g. thalamus; sites within it count too."}
    )
    laterality: Literal["left", "right", "bilateral", "midline"] | None = field(
        default=None, metadata={"help": "Filter: its side; a bilateral finding is left and right."}
    )
    severity: Literal["mild", "moderate", "severe"] | None = field(
        default=None, metadata={"help": "Filter: its severity."}
    )
    acuity: Literal["acute", "subacute", "chronic"] | None = field(default=None, metadata={"help": "Filter: its age."})
    change: Literal["new", "unchanged", "larger", "smaller", "resolved"] | None = field(
        default=None, metadata={"help": "Filter: its change since the study before."}
    )
    morphology: str | None = field(default=None, metadata={"help": "Filter: its shape, e.g. round."})
    min_size_mm: float | None = field(default=None, metadata={"help": "Filter: its least stated size in mm."})
    max_size_mm: float | None = field(default=None, metadata={"help": "Filter: its largest stated size in mm."})
    present: bool = field(
        default=True,
        metadata={"help": "Filter: the finding is there; --no-present: the report denies it or calls it resolved."},
    )
    normal: bool = field(default=False, metadata={"help": "Filter: only studies whose findings are normal."})
    top: int = field(default=10, metadata={"help": "Number of results."})
    checkpoint: Path | None = field(
        default=None,
        metadata={
            "help": "Checkpoint that the index was made with, for a text or an image; without it looked for where it "
            "was at `selip embed`."
        },
    )
    json: Path | None = field(default=None, metadata={"help": "File for the results (.json)."})
    html: Path | None = field(default=None, metadata={"help": "Page for the results with pictures (.html), offline."})
    overwrite: bool = field(default=False, metadata={"help": "Replace a file or page that is already there."})

    def __post_init__(self) -> None:
        queries = [name for name in ("text", "study", "image") if getattr(self, name) is not None]
        if len(queries) != 1:
            raise ValueError(
                f"expected one query, --text, --study or --image, got {' and '.join(queries) if queries else 'none'}"
            )
        if self.text is not None and not self.text.strip():
            raise ValueError("expected words in --text, got none")
        if self.top < 1:
            raise ValueError(f"expected top of at least 1, got {self.top}")
        for path, ending in ((self.json, ".json"), (self.html, ".html")):
            if path is not None and path.suffix != ending:
                raise ValueError(f"expected {ending[1:]} to end in {ending}, got {path.name}")

    @property
    def searched_level(self) -> Literal["series", "study"]:
        """`level`, `auto` decided."""
        if self.level != "auto":
            return self.level
        return "study" if self.sequence is None and self.image is None else "series"
