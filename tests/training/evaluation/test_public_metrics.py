"""The metrics of the library `evaluate` give what selip's own evaluation gives, and need no network."""

import json
import math

import numpy as np
import pytest

from selip.training.evaluation.public_metrics import FindingF1, Polarity, RetrievalRecall


def report(*findings):
    """JSON of a report with findings of (term, site, side)."""
    named = [{"finding": term, "site": site, "laterality": side} for term, site, side in findings]
    return json.dumps({"normal": not named, "findings": named, "impression": []})


INFARCT, EDEMA, CYST = ("acute infarct", "pons", "left"), ("edema", "insula", "right"), ("cyst", "thalamus", "left")


def test_recall_equals_a_loop():
    """Ranks by sorting, with candidates of the own group and texts that several images share."""
    generator = np.random.default_rng(0)
    images = generator.normal(size=(30, 8)).astype(np.float32)
    texts = images + 0.8 * generator.normal(size=(30, 8)).astype(np.float32)
    groups, same = np.arange(30) % 2, np.arange(30) // 6
    got = RetrievalRecall().compute(predictions=images, references=texts, groups=groups, same=same)
    units = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (images, texts)]
    found = []
    for i in range(30):
        own = [j for j in range(30) if groups[j] == groups[i]]
        order = sorted(own, key=lambda j: -float(units[0][i] @ units[1][j]))
        rank = next(place for place, j in enumerate(order) if same[j] == same[i])
        found.append(rank < 5)
    assert got["image_to_text/recall@5"] == pytest.approx(np.mean(found))
    alone = RetrievalRecall().compute(predictions=images, references=images)
    assert alone["text_to_image/recall@1"] == 1
    with pytest.raises(ValueError, match="groups with 30 names"):
        RetrievalRecall().compute(predictions=images, references=texts, groups=groups[:3])


def test_finding_f1_of_a_hand_case():
    """Two of three found, one too many; what is no report finds nothing and is counted."""
    gold = [report(INFARCT, EDEMA), report(CYST)]
    got = FindingF1().compute(predictions=[report(INFARCT, EDEMA, CYST), "no JSON"], references=gold)
    assert got["finding/recall"] == pytest.approx(2 / 3)
    assert got["finding/precision"] == pytest.approx(2 / 3)
    assert got["valid/share"] == 0.5
    assert FindingF1().compute(predictions=gold, references=gold)["finding/f1"] == 1
    wrong_side = [report((*INFARCT[:2], "right"), EDEMA), gold[1]]
    assert FindingF1().compute(predictions=wrong_side, references=gold)["finding/f1"] == pytest.approx(2 / 3)


def test_polarity_of_models_that_read_ignore_or_reverse():
    """1, one half and 0; ties are wrong; a kind without studies has no share."""
    there = [True, True, False, False]
    margins = {"reads": [1, 2, -1, -2], "ignores": [1, 2, 3, 4], "reverses": [-1, -2, 1, 2], "ties": [0, 0, 0, 0]}
    got = {name: Polarity().compute(predictions=each, references=there)["polarity"] for name, each in margins.items()}
    assert got == {"reads": 1, "ignores": 0.5, "reverses": 0, "ties": 0}
    assert math.isnan(Polarity().compute(predictions=[1.0], references=[True])["negative"])
