"""Each check on folders made by hand: it finds what is wrong, leaves what is right, and repeats nothing of it."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from selip.model_cards.cards.terms import inherited_licence
from selip.model_cards.publishing import file_checks, text_checks
from selip.model_cards.publishing.card_checks import find_card_problems, find_licence_problems
from selip.model_cards.publishing.model_checks import find_weight_problems
from selip.model_cards.publishing.verification import Check, Problem, PublishError, verify

CANARY = "Zebulon Canary"
CARD = """---
license: apache-2.0
tags: [selip]
---
# A model

Not a medical device.

## Use

`AutoModel.from_pretrained("a/b")` and see [the paper](https://arxiv.org/abs/2503.19801).

## Licence

pseudo reports of SeLIP, written by a simulator; they describe no patient
"""


def of_objects() -> bytes:
    """A NumPy file whose array is pickled."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def of_torch() -> bytes:
    """What `torch.save` writes: a zip archive with a pickle in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("weights.pkl", b"anything"),
        ("pytorch_model.bin", b"anything"),
        ("notes.txt", pickle.dumps({"a": 1}, protocol=4)),
        ("old.txt", pickle.dumps([1], protocol=0)),
        ("table.json", of_torch()),
        ("array.dat", of_objects()),
        ("layers.dat", b"\x89HDF\r\n\x1a\n" + bytes(64)),
    ],
)
def test_what_may_run_code_is_found_by_ending_and_by_content(tmp_path: Path, name: str, content: bytes) -> None:
    """Pickles are found under any name, and their endings with any content."""
    (tmp_path / name).write_bytes(content)
    assert [problem.file for problem in file_checks.find_code_carriers(tmp_path)] == [name]


def test_safetensors_text_and_pictures_carry_no_code(tmp_path: Path) -> None:
    """Files of a good repository pass, and a file that is only called safetensors does not."""
    save_file({"a": torch.arange(3), "b": torch.zeros(2, 2)}, tmp_path / "model.safetensors")
    (tmp_path / "README.md").write_text(CARD)
    (tmp_path / "plot.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    assert list(file_checks.find_code_carriers(tmp_path)) == []
    content = (tmp_path / "model.safetensors").read_bytes()
    for wrong in (content + b"more", content[:-1], b"\x80\x04" + content[2:], b"short"):
        (tmp_path / "model.safetensors").write_bytes(wrong)
        assert [problem.file for problem in file_checks.find_code_carriers(tmp_path)] == ["model.safetensors"]


def test_links_hidden_files_and_states_of_runs_are_found(tmp_path: Path) -> None:
    """Each by its name; entries of evaluation results are the one hidden folder that goes."""
    (tmp_path / ".eval_results").mkdir()
    for name in (".eval_results/a.yaml", ".env", "optimizer.safetensors", "training_state.json", "config.json"):
        (tmp_path / name).write_text("x")
    (tmp_path / "link.json").symlink_to("/etc/hostname")
    found = {problem.file for problem in file_checks.find_strange_files(tmp_path)}
    assert found == {".env", "optimizer.safetensors", "training_state.json", "link.json"}


def test_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty files and texts above the limit are found; the limit of a tokenizer is its own."""
    monkeypatch.setattr(file_checks, "MAX_TEXT_BYTES", 100)
    for name, size in {"a.json": 100, "b.json": 101, "tokenizer.json": 101, "c.txt": 0}.items():
        (tmp_path / name).write_bytes(b"x" * size)
    assert {problem.file for problem in file_checks.find_wrong_sizes(tmp_path)} == {"b.json", "c.txt"}


@pytest.mark.parametrize(
    "line",
    [
        "selip evaluate /home/jo/runs/best data",
        "see C:\\Users\\jo\\run",
        '"path": "file:///tmp/x"',
        "data in ~/mri/raw",
        "--out=/mnt/data/x.json",
        '"root": "/data/hospital/bids"',
    ],
)
def test_local_paths_are_found(tmp_path: Path, line: str) -> None:
    """Absolute paths in any form; the message has the line and not the path."""
    (tmp_path / "README.md").write_text(f"fine\n{line}\n")
    (problem,) = text_checks.find_local_paths(tmp_path)
    assert "line 2" in problem.what
    assert not {"jo", "hospital", "mri/raw", "/mnt"} & set(str(problem).replace("/", " ").split())


@pytest.mark.parametrize(
    "line",
    [
        "https://huggingface.co/datasets/Forithmus/MR-RATE",
        "selip evaluate runs/tiny/best data/studies --out evaluation/retrieval.json",
        "T2/FLAIR and/or DWI, 3/5 of them, mg/kg/min",
        "</td></tr> <img src='x'/>",
        "(X/px, Y/py, Z/pz) [docs](docs/a.md)",
        "10^-6 mm^2/s",
    ],
)
def test_what_only_looks_like_a_path_is_left(tmp_path: Path, line: str) -> None:
    """Addresses, relative paths and fractions are no paths of a machine."""
    (tmp_path / "README.md").write_text(line)
    assert list(text_checks.find_local_paths(tmp_path)) == []


def test_the_name_of_a_model_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`base_model_name_or_path` is an id of the Hub: relative paths and ids that are folders here are found."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "base").mkdir(parents=True)
    (tmp_path / "published").mkdir()
    config = tmp_path / "published" / "adapter_config.json"
    for named, is_wrong in {
        "org/model": False,
        "bert-base": False,
        "runs/base": True,
        "../base": True,
        "": False,
    }.items():
        config.write_text(json.dumps({"deep": [{"base_model_name_or_path": named}]}))
        assert bool(list(text_checks.find_local_paths(tmp_path / "published"))) == is_wrong, named


def write_vocabulary(folder: Path, *tokens: str) -> None:
    vocabulary = {token: number for number, token in enumerate(["[PAD]", "the", "##lesion", *tokens])}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordPiece", "vocab": vocabulary}}))


def test_forbidden_strings_are_found_in_texts_and_vocabularies(tmp_path: Path) -> None:
    """Whole strings in texts, their longer words as tokens; other cases and marks of pieces make no difference."""
    write_vocabulary(tmp_path, "##zebulon", "Ġcanary", "▁CANARY", "canaryish")
    (tmp_path / "README.md").write_text("fine\nby ZEBULON  canary\nby zebulon canary")
    problems = {problem.file: problem for problem in text_checks.find_forbidden(tmp_path, [CANARY])}
    assert "tokens 3, 4, 5" in problems["tokenizer.json"].what
    assert "line 3" in problems["README.md"].what
    assert not any("canary" in str(problem).casefold() for problem in problems.values())
    assert list(text_checks.find_forbidden(tmp_path, ["somebody else"])) == []


def test_personal_patterns_are_counted_by_kind_and_not_repeated(tmp_path: Path) -> None:
    """Of each kind a count and the places; licences, code and numbers of machines are left."""
    (tmp_path / "README.md").write_text("Seen on 2023-05-14 by Dr. Canary.\nMRN: 1234567\nT2, 12 mm, 3/5\n")
    (tmp_path / "LICENSE").write_text("Version 2.0, January 2004")
    (tmp_path / "a_selip.py").write_text("# 2023-05-14")
    (tmp_path / "r.json").write_text(json.dumps({"sha": "0123456789" * 6, "value": 123456789.5}, indent=1))
    problems = list(text_checks.find_personal_patterns(tmp_path))
    assert {problem.accepted_by for problem in problems} == {"README.md:NAME", "README.md:DATE", "README.md:ID"}
    assert not any(word in str(problem) for problem in problems for word in ("Canary", "2023", "1234567"))
    (tmp_path / "r.json").write_text(json.dumps({"patient_id": 12345678}, indent=1))
    assert "r.json:ID" in {problem.accepted_by for problem in text_checks.find_personal_patterns(tmp_path)}
    write_vocabulary(tmp_path, "2023-05-14")
    found = [problem for problem in text_checks.find_personal_patterns(tmp_path) if problem.file == "tokenizer.json"]
    assert [problem.accepted_by for problem in found] == ["tokenizer.json:DATE"]
    assert "token 3" in found[0].what


def test_sentences_of_reports_are_found(tmp_path: Path) -> None:
    """A sentence is found over line ends and in other case."""
    sentence = "A cyst of 12 mm lies in the pons."
    (tmp_path / "README.md").write_text("a cyst of 12 mm\nlies in the  PONS. And more.")
    (problem,) = text_checks.find_report_text(tmp_path, [sentence, "Another sentence."])
    assert "1 sentences" in problem.what
    assert "cyst" not in str(problem)


def card_problems(tmp_path: Path, card: str) -> str:
    (tmp_path / "README.md").write_text(card)
    (tmp_path / "LICENSE").write_text("Apache")
    terms = inherited_licence(["selip-pseudo-reports"])
    found = [*find_card_problems(tmp_path, ("Use", "Licence"), "a/b"), *find_licence_problems(tmp_path, terms)]
    return "\n".join(map(str, found))


def test_a_good_card_has_no_problem(tmp_path: Path) -> None:
    """The card that the cases below change passes."""
    assert card_problems(tmp_path, CARD) == ""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("## Use", "## Usage of", "no section 'Use'"),
        ("Not a medical device.", "", "not a medical device"),
        ("license: apache-2.0\n", "", "no `license`"),
        ("license: apache-2.0", "license: mit", "the terms of selip-pseudo-reports ask for 'apache-2.0'"),
        ("tags: [selip]", "tags: [selip", "cannot be read"),
        ('("a/b")', '("best")', "load best, expected a/b"),
        ("# A model", "# A model\n\nTODO", "placeholder"),
        ("# A model", "# A model\n\n![plot](plot.png)", "links to plot.png"),
        ("written by a simulator", "written", "does not name its source"),
    ],
)
def test_what_is_wrong_with_a_card_is_told(tmp_path: Path, old: str, new: str, expected: str) -> None:
    """Each fault has a message of its own."""
    assert old in CARD
    assert expected in card_problems(tmp_path, CARD.replace(old, new))


def test_pictures_of_gated_data_are_refused(tmp_path: Path) -> None:
    """Where data may not be shown, a card with a picture does not pass."""
    terms = inherited_licence(["mr-rate"])
    (tmp_path / "plot.png").write_bytes(b"x")
    (tmp_path / "README.md").write_text(
        CARD.replace("apache-2.0", terms.licence) + f"\n![a](plot.png)\n{terms.attributions[0]}"
    )
    (problem,) = find_licence_problems(tmp_path, terms)
    assert "by agreement" in problem.what


def test_weights_that_are_not_finite_or_not_there_are_found(tmp_path: Path) -> None:
    """Names of weights with NaN, and files that an index announces."""
    save_file(
        {"a": torch.tensor([1.0, float("nan")]), "b": torch.ones(2)}, tmp_path / "model-00001-of-00002.safetensors"
    )
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "c": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    problems = {problem.file: problem.what for problem in find_weight_problems(tmp_path)}
    assert problems["model-00001-of-00002.safetensors"].startswith("a holds values")
    assert "not there" in problems["model-00002-of-00002.safetensors"]


def test_all_checks_run_and_all_problems_are_told(tmp_path: Path) -> None:
    """Not the first failure alone; what is accepted goes, and accepting what is not there is a mistake."""
    first = Check("first", lambda folder: [Problem("a", "wrong", "do this", "a:X"), Problem("b", "bad", "do that")])
    second = Check("second", lambda folder: [Problem("c", "worse", "do more")])
    with pytest.raises(PublishError) as raised:
        verify(tmp_path, [first, Check("fine", lambda folder: []), second], ["a:X"])
    assert {name: [p.file for p in found] for name, found in raised.value.problems.items()} == {
        "first": ["b"],
        "second": ["c"],
    }
    assert "[first] b: bad; do that" in str(raised.value)
    only = Check("first", lambda folder: [Problem("a", "wrong", "do this", "a:X")])
    verify(tmp_path, [only], ["a:X"])
    with pytest.raises(ValueError, match="nothing was found for z:Y"):
        verify(tmp_path, [only], ["a:X", "z:Y"])


def test_a_fingerprint_that_begins_with_digits_is_no_number_of_a_record(tmp_path: Path) -> None:
    """Reference: the fingerprint of the demo's studies, which a card could not be published with."""
    (tmp_path / "README.md").write_text("| fingerprint | `7013481cea305e4c` |\nsimulated studies (7013481cea30)\n")
    assert list(text_checks.find_personal_patterns(tmp_path)) == []
    commit = "4943416abcde"
    row = f"| git commit | {commit + 28 * '0'} |"
    (tmp_path / "README.md").write_text(f"96 simulated studies, 122 findings, commit {commit}.\n{row}\n")
    assert list(text_checks.find_personal_patterns(tmp_path)) == []
    (tmp_path / "README.md").write_text("accession number 7013481cea30\nMRN (70134812)\n")
    assert [problem.accepted_by for problem in text_checks.find_personal_patterns(tmp_path)] == ["README.md:ID"]
