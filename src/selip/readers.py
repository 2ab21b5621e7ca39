"""`selip annotate agree`: what two readers agree on, the list of reports to adjudicate, and the page of them."""

from collections.abc import Sequence
from typing import Any

from selip.judge import CONFUSIONS_SHOWN, compared_report
from selip.model_cards.pages.report_page import ReportPage, write_report_page
from selip.model_cards.tables.agreement import agreement_tables
from selip.model_cards.tables.structuring import confusion_rows
from selip.processing.annotation.config import AnnotateAgreeConfig
from selip.processing.annotation.gold import GoldReport, read_gold
from selip.processing.row_files import write_rows
from selip.training.evaluation.provenance import environment
from selip.training.evaluation.reader_agreement import ReaderAgreement, adjudication_rows, agreed_rows, compare
from selip.training.evaluation.result_file import FORMAT_VERSION, ResultRecord, command_line, write_result
from selip.training.evaluation.structuring_confusions import confusion_table


def compare_readers(config: AnnotateAgreeConfig) -> ResultRecord:
    """Compare two readers; write the result, the adjudication list, the agreed reports, and the page.

    Raises:
        FileExistsError: There is a result already and `overwrite` is off.
        FileNotFoundError: A file of gold findings is not there.
        ValueError: A file cannot be read, or no report is in both.
    """
    out = config.out
    if out.exists() and not config.overwrite:
        raise FileExistsError(f"{out} exists; choose another name or say --overwrite")
    first, second = read_gold(config.first), read_gold(config.second)
    agreement = compare(first, second, bootstrap_samples=config.bootstrap_samples, seed=config.seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    lists = {"adjudicate": adjudication_rows(agreement), "agreed": agreed_rows(agreement)}
    files = {name: out.with_suffix(f".{name}.jsonl") for name in lists}
    for name, rows in lists.items():
        write_rows(rows, files[name])
    record = _agreement_record(config, agreement, first, second)
    record["files"] = {name: path.name for name, path in files.items()}
    page = write_report_page(_agreement_page(record, agreement), out.with_suffix(".html"))
    write_result(record, out)
    record.summary += f"\npage       {page}\nadjudicate {files['adjudicate']}\nagreed     {files['agreed']}"
    return record


def _agreement_record(
    config: AnnotateAgreeConfig,
    agreement: ReaderAgreement,
    first: Sequence[GoldReport],
    second: Sequence[GoldReport],
) -> ResultRecord:
    reports = agreement.reports
    n = {
        "patients": len({one.first.patient_id for one in reports}),
        "studies": len(reports),
        "studies_that_differ": sum(not one.is_agreed for one in reports),
    }
    content: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "task": "agreement",
        "primary_metric": "finding/f1",
        "greater_is_better": True,
        "readers": [config.first.stem, config.second.stem],
        "metrics": agreement.metrics,
        "intervals": {name: list(ends) for name, ends in agreement.intervals.items()},
        "n": n,
        "skipped": {
            "read by the first only": len(first) - len(reports),
            "read by the second only": len(second) - len(reports),
        },
        "by_term": agreement.by_term,
        "confusions": confusion_table((one.first.id, fault) for one in reports for fault in one.faults),
        "settings": {"bootstrap_samples": config.bootstrap_samples, "seed": config.seed},
        "command": command_line(config, "annotate", "agree"),
        "environment": environment(),
    }
    tables = agreement_tables(content)
    lines = [
        f"{n['studies']} reports of {n['patients']} patients read by {' and '.join(content['readers'])}, "
        f"{n['studies_that_differ']} to adjudicate; percent and kappa (95 % interval over patients)"
    ]
    for table in tables[:2]:
        lines.append("".join(f"{cell:<40}" if not k else f"{cell:>24}" for k, cell in enumerate(table.header)))
        lines += ["".join(f"{cell:<40}" if not k else f"{cell:>24}" for k, cell in enumerate(r)) for r in table.rows]
    return ResultRecord(content, "\n".join(lines))


def _agreement_page(record: ResultRecord, agreement: ReaderAgreement) -> ReportPage:
    differing = sorted((one for one in agreement.reports if not one.is_agreed), key=lambda one: -len(one.faults))
    first, second = record["readers"]
    metrics, n = record["metrics"], record["n"]
    *tables, terms = agreement_tables(record)
    return ReportPage(
        title=f"Findings of {first} and {second}",
        lead=f"{n['studies']} reports of {n['patients']} patients; those on which the readers differ follow, most "
        "differences first. Percent and kappa, with 95 % intervals over patients.",
        first_name=first,
        second_name=second,
        headline=[
            (f"{100 * metrics['finding/f1']:.1f} %", "finding F1 between the readers"),
            (str(n["studies_that_differ"]), f"of {n['studies']} reports to adjudicate"),
            (f"{100 * metrics['normal/agreement']:.1f} %", "reports called normal, or not, by both"),
        ],
        tables=tables,
        long_tables=[
            terms,
            confusion_rows(record, is_of_pair=False, limit=CONFUSIONS_SHOWN, names=(first, second)),
            confusion_rows(record, is_of_pair=True, limit=CONFUSIONS_SHOWN, names=(first, second)),
        ],
        reports=[
            compared_report(
                one.first, one.second.report.findings, one.pairs, one.faults, _normal_note(one.first, one.second)
            )
            for one in differing
        ],
        left_out=len(agreement.reports) - len(differing),
    )


def _normal_note(first: GoldReport, second: GoldReport) -> str:
    return "" if first.report.normal == second.report.normal else "One reader calls this report normal."
