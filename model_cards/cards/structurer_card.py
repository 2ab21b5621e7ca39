"""The card of a tuned structurer: an adapter of PEFT, or a whole model."""

from typing import Any

from huggingface_hub import ModelCardData

from ..templates import render
from .checkpoint_facts import STATE_NAME
from .config import CardConfig
from .data_facts import LANGUAGE_NAMES
from .hub_metadata import front_matter, licence_fields, model_index
from .kinds import read_json
from .licence import licence_of_card
from .results import card_tables, check_subject, read_card_result

PSEUDO_REPORTS = "selip-pseudo-reports"


def structurer_text(config: CardConfig) -> str:
    """The card of a structurer.

    Raises:
        ValueError: It was tuned on reports of a group's own that are not named, or a result is of another structurer.
    """
    about = read_json(config.folder / "structurer.json")
    state = read_json(config.folder / STATE_NAME)
    facts: dict[str, Any] = state["environment"]
    results = [read_card_result(path) for path in config.results]
    for result in results:
        if result.kind != "structuring":
            raise ValueError(f"expected results of `--task structuring`, {result.path.name} is of another task")
        check_subject(result, version=about["version"])
    if facts["group_reports"] and not config.datasets:
        raise ValueError(
            f"it was tuned on {facts['group_reports']} reports of a group's own: expected --datasets NAME=LICENCE for "
            "each set of them, got none"
        )
    name = config.name or config.folder.resolve().name
    known = [PSEUDO_REPORTS] if facts["pseudo_reports"] else []
    licence = licence_of_card(config.datasets, [], known=known)
    is_adapter = (config.folder / "adapter_config.json").is_file()
    base = facts["base_model"] if "/" in facts["base_model"] else None
    data = ModelCardData(
        **licence_fields(licence),
        base_model=base,
        language=list(config.languages) or facts["languages"],
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag="text-generation",
        tags=[
            "medical",
            "radiology",
            "mri",
            "brain",
            "structured-reports",
            "selip",
            *(["lora"] if is_adapter else []),
        ],
        **model_index(name, results, kind="structuring"),
    )
    return render(
        "cards/structurer_card.md.jinja",
        {
            "head": front_matter(data),
            "name": name,
            "about": about,
            "facts": facts,
            "metrics": state.get("metrics"),
            "step": state["step"],
            "languages": [LANGUAGE_NAMES.get(code, code) for code in facts["languages"]],
            "is_adapter": is_adapter,
            "base": base,
            "training_data": config.training_data,
            "tables": [table for result in results for table in card_tables(result)],
            "licence": licence,
        },
    )
