"""Results of fine-tuned checkpoints with their pictures, and the pages of them."""

import base64
import json
import re

import pytest

from selip.model_cards.pages.report_config import ReportConfig
from selip.report import evaluate_with_page, write_report
from selip.training.evaluation.config import EvaluateConfig
from selip.training.finetuning.run import finetune


def embedded(html):
    """The pictures of a page."""
    return [base64.b64decode(text) for text in re.findall(r"data:image/png;base64,([\w+/=]+)", html)]


def test_segmentation_with_its_pictures_on_a_page(segmentation_run, phantoms, tmp_path):
    """The page holds the very pictures beside the result; the command of the result makes the result, not the page."""
    out, page = tmp_path / "result.json", tmp_path / "page.html"
    config = EvaluateConfig(
        segmentation_run[1].best, phantoms.studies, "segmentation", volumes=phantoms.volumes, out=out,
        bootstrap_samples=10, num_figure_cases=3, html=page,
    )  # fmt: skip
    record = evaluate_with_page(config)
    assert str(page) in str(record)
    assert "--html" not in record["command"]
    assert set(record["files"]) == {"cases", "dice", "overlays"}
    files = [(tmp_path / record["files"][kind]).read_bytes() for kind in ("dice", "overlays")]
    html = page.read_text(encoding="utf-8")
    assert embedded(html) == files
    for said in ("Segmentation of lesions", "with a lesion", "through the box", "1 - Dice", "study-20"):
        assert said in html, said
    with pytest.raises(FileExistsError, match="overwrite"):
        write_report(ReportConfig((out,), page))
    (tmp_path / record["files"]["dice"]).unlink()
    with pytest.raises(FileNotFoundError, match=r"result\.dice\.png"):
        write_report(ReportConfig((out,), page, overwrite=True))


def test_classification_with_its_pictures_on_a_page(make_run, phantoms, tmp_path):
    """ROC and reliability by label; probabilities lie in (0, 1) and rise with the scores."""
    best = finetune(make_run("labels", "classification", steps=2, validate_every=2)).best
    out, page = tmp_path / "result.json", tmp_path / "page.html"
    config = EvaluateConfig(
        best, phantoms.studies, "classification", volumes=phantoms.volumes, out=out, bootstrap_samples=10, html=page
    )
    assert set(evaluate_with_page(config)["files"]) == {"cases", "roc", "reliability"}
    assert len(embedded(page.read_text(encoding="utf-8"))) == 2


def test_what_is_no_result_of_a_checkpoint_is_refused(tmp_path):
    """Another JSON file, the result of a structurer, several endings."""
    path, page = tmp_path / "result.json", tmp_path / "page.html"
    path.write_text("[1]", encoding="utf-8")
    with pytest.raises(ValueError, match="another file"):
        write_report(ReportConfig((path,), page))
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="not JSON"):
        write_report(ReportConfig((path,), page))
    path.write_text(json.dumps({"task": "structuring", "command": "", "data": {}}), encoding="utf-8")
    with pytest.raises(ValueError, match="page is written by"):
        write_report(ReportConfig((path,), page))
    with pytest.raises(ValueError, match=r"end in \.html"):
        ReportConfig((path,), tmp_path / "page.pdf")
    assert not page.exists()
