"""`selip evaluate --task structuring`: the result of a structurer, and the page on which to look at it."""

from collections.abc import Sequence

from selip.model_cards.pages.report_page import ComparedReport, ReportPage, write_report_page
from selip.model_cards.tables.structuring import (
    cause_name,
    confusion_rows,
    field_table,
    finding_table,
    report_table,
)
from selip.processing.annotation.gold import GoldReport
from selip.processing.findings import Finding
from selip.training.evaluation.result_file import ResultRecord
from selip.training.evaluation.structuring_config import StructuringEvaluateConfig
from selip.training.evaluation.structuring_confusions import Fault
from selip.training.evaluation.structuring_score import Pair
from selip.training.evaluation.structuring_task import JudgedReport, evaluate_structuring

CONFUSIONS_SHOWN = 60


def judge_structurer(config: StructuringEvaluateConfig) -> ResultRecord:
    """Judge a structurer, write the result file and, if one is asked for, the page.

    Raises:
        FileExistsError: The result or the page is there and `overwrite` is off.
        FileNotFoundError: The structurer or the gold findings are not there.
        ValueError: They cannot be read.
    """
    if config.html is not None and config.html.exists() and not config.overwrite:
        raise FileExistsError(f"{config.html} exists; choose another --html, or say --overwrite")
    record, judged = evaluate_structuring(config)
    if config.html is not None:
        write_report_page(structuring_page(record, judged, config.html_reports), config.html)
        record.summary += f"\npage     {config.html}"
    record.summary += f"\nresult   {config.result_path}"
    return record


def structuring_page(record: ResultRecord, judged: list[JudgedReport], limit: int) -> ReportPage:
    """The page of a result: scores, what was taken for what, and reports, those with most faults first."""
    shown = sorted(judged, key=lambda one: -len(one.faults))[:limit]
    n, metrics = record["n"], record["metrics"]
    kind = "simulated reports" if record["simulated"] else "reports"
    name = f"{record['structurer']['name']} {record['structurer']['version']}".strip()
    return ReportPage(
        title=f"Findings by {name}",
        lead=f"{n['studies']} {kind} of {n['patients']} patients with {n['findings']} gold findings. Percent, with "
        f"95 % intervals over patients. Reports with most faults come first. Made by: {record['command']}",
        first_name="gold",
        second_name="predicted",
        headline=[
            (f"{100 * metrics['finding/f1']:.1f} %", "finding F1"),
            (f"{100 * metrics['sequences/agreement']:.1f} %", "set F1 of sequences, matched findings"),
            (f"{100 * metrics['normal/accuracy']:.1f} %", "reports rightly called normal or not"),
        ],
        tables=[finding_table(record), field_table(record), report_table(record)],
        long_tables=[
            confusion_rows(record, is_of_pair=False, limit=CONFUSIONS_SHOWN),
            confusion_rows(record, is_of_pair=True, limit=CONFUSIONS_SHOWN),
        ],
        reports=[
            compared_report(
                one.gold,
                [] if one.prediction is None else one.prediction.findings,
                one.pairs,
                one.faults,
                f"No valid findings: {one.reason}." if one.reason else "",
            )
            for one in shown
        ],
        left_out=len(judged) - len(shown),
    )


def compared_report(
    gold: GoldReport, second: Sequence[Finding], pairs: Sequence[Pair], faults: Sequence[Fault], note: str
) -> ComparedReport:
    """A report and two sets of findings as a page shows them."""
    taken = {
        (fault.gold_index, fault.predicted_index): cause_name(fault.cause)
        for fault in faults
        if not fault.is_of_pair and fault.gold_index is not None and fault.predicted_index is not None
    }
    return ComparedReport(
        id=gold.id,
        language=gold.text.language,
        findings_text=gold.text.findings,
        impression_text=gold.text.impression,
        first=gold.report.findings,
        second=second,
        pairs=pairs,
        taken=taken,
        note=note,
    )
