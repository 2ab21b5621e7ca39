"""A language model on this machine as a structurer: a tuned adapter, a folder with a whole model, or a Hub id."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel

from selip.processing.findings import StructuredReport
from selip.processing.structurer import ReportText

from .config import UNPUBLISHED
from .constraint import CompactConstraint, is_available
from .generation import generate_reports
from .models import load_tokenizer
from .prompt import INSTRUCTION, ReportPrompt
from .saving import StructurerFile, read_structurer_file

DEFAULT_MAX_NEW_TOKENS = 2048
ADAPTER_FILE = "adapter_config.json"

logger = logging.getLogger(__name__)


class LocalStructurer:
    """Reads findings out of reports with a causal language model, by greedy decoding.

    With the extra `structure` (llguidance) answers follow the schema by construction; without it a model may write
    what is no finding, which is then refused.

    Attributes:
        name: "llm".
        version: fingerprint of the tuned weights, or the model's id and revision.
    """

    name = "llm"

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        prompt: ReportPrompt,
        *,
        version: str,
        batch_size: int,
        max_new_tokens: int,
    ):
        self.version = version
        self._model = model.eval()
        self._prompt = prompt
        self._batch_size = batch_size
        self._max_new_tokens = max_new_tokens
        self._constraint = build_constraint(model, prompt)

    def __call__(self, reports: Sequence[ReportText]) -> list[StructuredReport | str]:
        """One result per report, in order: its findings, or why there are none. Never raises for what a model wrote.

        Reasons: "invalid JSON", "not the schema", "cut at max_new_tokens", "longer than the model's context".
        """
        results: list[StructuredReport | str] = [""] * len(reports)
        for number, result in generate_reports(
            self._model,
            self._prompt,
            reports,
            batch_size=self._batch_size,
            max_new_tokens=self._max_new_tokens,
            constraint=self._constraint,
        ):
            results[number] = result
        return results


def build_constraint(model: PreTrainedModel | PeftModel, prompt: ReportPrompt) -> CompactConstraint | None:
    """The constraint of a model's answers; None, with a warning, where llguidance is not installed."""
    if not is_available():
        logger.warning(
            "answers are not constrained to the schema, some may be invalid: install the extra 'selip[structure]'"
        )
        return None
    return CompactConstraint(prompt.tokenizer, int(model.get_output_embeddings().weight.shape[0]), prompt.stop_id)


def load_local_structurer(
    path_or_id: str | Path,
    *,
    base: str | Path | None = None,
    batch_size: int = 16,
    max_new_tokens: int | None = None,
    device: str | torch.device | None = None,
) -> LocalStructurer:
    """Load a structurer.

    Args:
        path_or_id: folder of `selip tune-structurer` (`best` or `merged`) or of any causal language model, or the Hub
            id of an adapter or of a model.
        base: folder or Hub id of the base of an adapter; none: what the adapter names.
        batch_size: reports generated at once.
        max_new_tokens: tokens of an answer at most; none: as it was tuned, or `DEFAULT_MAX_NEW_TOKENS`, and half of
            the model's context at most.
        device: where it runs; none: the GPU if there is one.

    Raises:
        FileNotFoundError: there is no such folder, and it is no Hub id; or the base of an adapter is not there.
        ValueError: an adapter whose base is on no Hub, and no `base` given; a base of other widths than the adapter's;
            a `base` for a whole model.
    """
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
    name, folder = str(path_or_id), Path(path_or_id).expanduser()
    if not folder.is_dir() and (name.count("/") > 1 or name.startswith(("/", ".", "~"))):
        raise FileNotFoundError(f"expected a folder of a model or a Hub id, found no folder at {name}")
    adapter = _adapter_config(name, folder)
    about = read_structurer_file(folder) or StructurerFile(INSTRUCTION, DEFAULT_MAX_NEW_TOKENS, "")
    model: PreTrainedModel | PeftModel
    if adapter is None:
        if base is not None:
            raise ValueError(f"expected base with an adapter alone, {name} is a whole model; leave --base out")
        model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype)
    else:
        model = _on_base(name, str(base or adapter.base_model_name_or_path), dtype)
    prompt = ReportPrompt(load_tokenizer(name), about.instruction)
    limit = max_new_tokens or min(about.max_new_tokens, int(model.config.max_position_embeddings) // 2)
    revision = getattr(model.config, "_commit_hash", None) or "unversioned"
    return LocalStructurer(
        model.to(device),
        prompt,
        version=about.version or f"{folder.name if folder.is_dir() else name}@{revision}",
        batch_size=batch_size,
        max_new_tokens=limit,
    )


def _on_base(name: str, base: str, dtype: torch.dtype) -> PeftModel:
    """An adapter on its base, both by folder or Hub id."""
    if base == UNPUBLISHED:
        raise ValueError(f"the base of the adapter in {name} is on no Hub; give its folder as base (--base FOLDER)")
    try:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    except OSError as error:  # also what Transformers says of a Hub that is not reached
        raise FileNotFoundError(
            f"expected {base}, the base of the adapter in {name}, as a folder of a model, in the cache of the Hub or "
            "on it, found none; give its folder as base (--base FOLDER)"
        ) from error
    except ValueError as error:  # a model of another kind
        raise ValueError(
            f"expected a causal language model as the base of the adapter in {name}, {base} is none"
        ) from error
    try:
        with warnings.catch_warnings():
            # transformers 5.23 renames is_gradient_checkpointing; peft knows the old name only
            warnings.filterwarnings("ignore", message=".*gradient_checkpointing", category=FutureWarning)
            return PeftModel.from_pretrained(model, name)
    except RuntimeError as error:  # weights of other shapes
        raise ValueError(
            f"expected the base that the adapter in {name} was tuned on, {base} is another one"
        ) from error


def _adapter_config(name: str, folder: Path) -> PeftConfig | None:
    """The configuration of an adapter, None where it is a whole model."""
    if folder.is_dir():
        return PeftConfig.from_pretrained(name) if (folder / ADAPTER_FILE).is_file() else None
    try:
        return PeftConfig.from_pretrained(name)
    except ValueError:  # peft's word for a repository without adapter_config.json
        return None
