"""`selip report`, and `--html` of `selip evaluate` and `selip missing`: results as one page to read."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from selip.model_cards.cards.terms import not_to_be_shown
from selip.model_cards.pages.evaluation_cases import ReportedResult
from selip.model_cards.pages.evaluation_page import write_evaluation_page
from selip.model_cards.pages.report_config import MOST_CASES, ReportConfig
from selip.training.evaluate import evaluate, result_path
from selip.training.evaluation.config import EvaluateConfig, MissingConfig
from selip.training.evaluation.recomputation import case_mistakes
from selip.training.evaluation.result_file import ResultRecord, read_cases, read_result_file
from selip.training.missing import RESULT_NAME, evaluate_missing

_PICTURE_ENDING = ".png"


@dataclass(frozen=True)
class ReportSummary:
    """Where to look."""

    page: Path
    results: int

    def __str__(self) -> str:
        return f"{self.results} {'result' if self.results == 1 else 'results'} on one page: {self.page}"


def write_report(config: ReportConfig) -> ReportSummary:
    """Write the page of some results.

    Raises:
        FileExistsError: The page is there and `overwrite` is off.
        FileNotFoundError: A result file, its table of cases or a picture is not there.
        ValueError: A file is no result, the results are of several checkpoints, or one is of a structurer.
    """
    if config.out.exists() and not config.overwrite:
        raise FileExistsError(f"{config.out} exists; choose another name, or say --overwrite")
    results = [read_reported(path) for path in config.results]
    gated = not_to_be_shown(config.datasets)
    write_evaluation_page(results, config.out, max_cases=config.cases, gated=gated)
    return ReportSummary(config.out, len(results))


def read_reported(path: Path) -> ReportedResult:
    """A result file with what stands beside it.

    Raises:
        FileNotFoundError: The file, its table of cases or a picture is not there.
        ValueError: It is no result of a checkpoint.
    """
    record = read_result_file(path)
    if record["task"] == "structuring":
        raise ValueError(
            f"expected the result of a checkpoint, {path.name} is that of a structurer; its page is written by "
            "`selip evaluate STRUCTURER GOLD --task structuring --html PAGE.html`"
        )
    files = record.get("files", {})
    cases = read_cases(path) if "cases" in files else {}
    mistakes = case_mistakes(record["task"], cases) if cases else None
    return ReportedResult(
        name=path.name,
        record=record,
        cases={name: values.tolist() for name, values in cases.items()},
        mistakes=None if mistakes is None else mistakes.tolist(),
        pictures={kind: _picture(path, name) for kind, name in files.items() if str(name).endswith(_PICTURE_ENDING)},
    )


def _picture(result: Path, name: str) -> bytes:
    file = result.parent / Path(name).name  # beside the result, whatever it says
    if not file.is_file():
        raise FileNotFoundError(f"expected the picture {file.name} beside {result.name}, found none")
    return file.read_bytes()


def evaluate_with_page(config: EvaluateConfig) -> ResultRecord:
    """Evaluate and, if one is asked for, write the page; arguments and errors as `evaluate` and `write_report`."""
    if config.html is None:
        return evaluate(config)
    # the page is no part of what makes the result, so the command of the result does not name it
    plain = replace(config, html=None, html_cases=MOST_CASES)
    page = ReportConfig((result_path(config),), config.html, cases=config.html_cases, overwrite=config.overwrite)
    return _with_page(lambda: evaluate(plain), page)


def missing_with_page(config: MissingConfig) -> ResultRecord:
    """The same for `selip missing`."""
    if config.html is None:
        return evaluate_missing(config)
    page = ReportConfig((config.out / RESULT_NAME,), config.html, overwrite=config.overwrite)
    return _with_page(lambda: evaluate_missing(replace(config, html=None)), page)


def _with_page(run: Callable[[], ResultRecord], page: ReportConfig) -> ResultRecord:
    if page.out.exists() and not page.overwrite:
        raise FileExistsError(f"{page.out} exists; choose another --html, or say --overwrite")
    record = run()
    record.summary += f"\n{write_report(page)}"
    return record
