"""A builder of `datasets` for studies on this machine, in the place of the loading scripts that it no longer runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import datasets
import pyarrow as pa

from .reports_column import COLUMN
from .schema import study_features
from .splits import SPLITS
from .studies import load_studies, studies_fingerprint


@dataclass
class SelipStudiesConfig(datasets.BuilderConfig):
    """Configuration of `SelipStudies`.

    Attributes:
        findings: Findings table that is joined as the column `structured`; None for none.
        fingerprint: Of the table; taken from it. It tells the caches of two tables in one place apart.
    """

    findings: str | None = None
    fingerprint: str | None = None


class SelipStudies(datasets.ArrowBasedBuilder):
    """Studies as a builder: for code that expects one (caching, `as_streaming_dataset`). `load_studies` is shorter.

    Args:
        data_dir: Folder of a studies table or of an export; files are referred to where the table does so.
        findings: Findings table to join. A split without studies is left out.

    Raises:
        FileNotFoundError: There is no table at `data_dir`.

    Example:
        >>> builder = SelipStudies(data_dir="data/studies")
        >>> builder.download_and_prepare()
        >>> studies = builder.as_dataset(split="train")
    """

    BUILDER_CONFIG_CLASS = SelipStudiesConfig
    VERSION = datasets.Version("1.0.0")

    def __init__(self, *args: Any, data_dir: str | None = None, **kwargs: Any) -> None:
        if data_dir is None:
            raise ValueError("expected data_dir, the folder of a studies table; write one with `selip ingest`")
        kwargs.setdefault("fingerprint", studies_fingerprint(data_dir))
        super().__init__(*args, data_dir=str(data_dir), **kwargs)

    def _info(self) -> datasets.DatasetInfo:
        features = study_features()
        if self.config.findings is not None:
            features[COLUMN] = datasets.Value("string")
        return datasets.DatasetInfo(features=features)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        parts = load_studies(self.config.data_dir)
        # `datasets` cannot read back a split that was prepared without rows.
        return [datasets.SplitGenerator(name=name, gen_kwargs={"split": name}) for name in SPLITS if len(parts[name])]

    def _generate_tables(self, split: str) -> Iterator[tuple[Any, pa.Table]]:
        part = load_studies(self.config.data_dir, split=split, findings=self.config.findings)
        for number, table in enumerate(part.with_format("arrow").iter(batch_size=1)):
            yield (0, number), table
