"""What a structurer is worth while it is tuned: finding F1 on reports that it is not trained on, answers generated."""

from collections.abc import Sequence

from accelerate import Accelerator
from accelerate.utils import gather_object
from peft import PeftModel
from transformers import PreTrainedModel

from selip.processing.findings import StructuredReport

from ..evaluation.structuring_score import finding_f1
from .config import TuningOptimization
from .constraint import CompactConstraint
from .generation import generate_reports
from .prompt import ReportPrompt
from .pseudo_reports import LabelledReport


def validation_metrics(
    accelerator: Accelerator,
    model: PreTrainedModel | PeftModel,
    prompt: ReportPrompt,
    reports: Sequence[LabelledReport],
    config: TuningOptimization,
    constraint: CompactConstraint | None,
) -> dict[str, float]:
    """Micro F1, precision and recall of findings, the share of valid answers, and the number of reports.

    Each process answers a part of the reports; all get the same numbers.
    """
    mine = range(accelerator.process_index, len(reports), accelerator.num_processes)
    model.eval()
    with accelerator.autocast():
        found = [
            (mine[number], result)
            for number, result in generate_reports(
                model,
                prompt,
                [reports[n].text for n in mine],
                batch_size=config.generation_batch,
                max_new_tokens=config.max_new_tokens,
                constraint=constraint,
            )
        ]
    results: dict[int, StructuredReport | str] = dict(gather_object(found))
    predictions = [results[number] for number in range(len(reports))]
    valid = [None if isinstance(prediction, str) else prediction for prediction in predictions]
    scores = finding_f1([report.target for report in reports], valid)
    return {
        "f1": scores.f1,
        "precision": scores.precision,
        "recall": scores.recall,
        "valid": sum(prediction is not None for prediction in valid) / len(reports),
        "reports": len(reports),
    }
