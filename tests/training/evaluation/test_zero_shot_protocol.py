"""Protocols: the shipped ones are whole and frozen, wrong ones are refused with what to do."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from selip.training.evaluation.config import EvaluateConfig
from selip.training.evaluation.zero_shot_protocol import load_protocol, shipped_protocols

SIMULATED = ("simulated", "simulated-zh")
# A protocol is never changed once results name it: a change needs a new version, and this line with it.
FINGERPRINTS = {
    "mrrate-37": "8c6884d84eaf4940",
    "mrrate-head": "a10dec9614193f86",
    "pub-brain-5": "e4163fd7977a4080",
    "simulated": "35d491706af5f606",
    "simulated-simple": "9019b790fb5638b7",
    "simulated-zh": "ef5366b3993db041",
}


@pytest.fixture
def write(tmp_path):
    """Writes a small protocol with some values changed; returns its path."""

    def make(**changes):
        values = {
            "name": "small",
            "version": 1,
            "language": "en",
            "source": "made up",
            "rule": "margin",
            "templates": ["There is {finding}.", "{place} shows {finding}."],
            "labels": [
                {"name": "mass", "positive": ["mass", "tumor"], "negative": ["no mass", "no tumor"]},
                {"name": "cyst", "positive": ["cyst"], "negative": ["no cyst"], "places": ["pons", "insula"]},
            ],
        }
        values = {key: value for key, value in (values | changes).items() if value is not None}
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return str(path)

    return make


def changed(label, **values):
    """Labels of the small protocol with one of them changed; None takes a value away."""
    labels = {
        "mass": {"name": "mass", "positive": ["mass"], "negative": ["no mass"]},
        "cyst": {"name": "cyst", "positive": ["cyst"], "negative": ["no cyst"]},
    }
    merged = labels[label] | values
    labels[label] = {key: value for key, value in merged.items() if value is not None}
    return list(labels.values())


def test_prompts_are_every_word_at_every_place(write):
    """Template by template, each sentence once."""
    protocol = load_protocol(write())
    mass, cyst = protocol.labels
    assert protocol.prompts(mass, "positive") == (
        ("There is mass.", "There is tumor."),
        ("brain shows mass.", "brain shows tumor."),
    )
    assert protocol.prompts(cyst, "negative") == (
        ("There is no cyst.",),
        ("pons shows no cyst.", "insula shows no cyst."),
    )
    assert protocol.side_prompts(mass, "left") == ()


def test_sides_are_told_by_templates_of_their_own(write):
    """Left and right in pairs."""
    sides = {"left": ["{finding} on the left"], "right": ["{finding} on the right"]}
    protocol = load_protocol(write(sides=sides))
    assert protocol.side_prompts(protocol.labels[0], "right") == (("mass on the right", "tumor on the right"),)


def test_fingerprint_follows_the_content_alone(write, tmp_path):
    """Layout and comments do not matter, a word does."""
    protocol = load_protocol(write())
    file = tmp_path / "other.yaml"
    file.write_text("# comment\n" + yaml.safe_dump(yaml.safe_load((tmp_path / "small.yaml").read_text()), indent=8))
    assert load_protocol(str(file)).fingerprint == protocol.fingerprint
    assert replace(protocol, templates=("There was {finding}.",)).fingerprint != protocol.fingerprint
    assert protocol.only(["mass"]).fingerprint != protocol.fingerprint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"template": ["x"]}, "unknown key 'template' in small.yaml; did you mean 'templates'"),
        ({"labels": changed("mass", negatives=["no"])}, "unknown key 'negatives' in label 'mass' of small.yaml"),
        ({"labels": changed("mass", negative=None)}, "words in negative of label 'mass'"),
        ({"labels": changed("mass", negative=["mass"])}, "other words in negative than in positive"),
        ({"labels": changed("mass", positive=[])}, "words in positive of label 'mass'"),
        ({"labels": changed("mass", name="cyst")}, "every label once, got twice: cyst"),
        ({"labels": changed("mass", name="a/b")}, "name without /"),
        ({"labels": changed("mass", name="macro")}, "none of macro"),
        ({"labels": changed("mass", findings=["tumour"])}, "expected finding terms in label 'mass'"),
        ({"labels": {"mass": {}}}, "list of mappings"),
        ({"labels": []}, "templates and labels"),
        ({"templates": ["There is {term}."]}, "template with {finding}"),
        ({"templates": ["There is a mass."]}, "template with {finding}"),
        ({"templates": ["There is {finding"]}, "sentence with {finding}"),
        ({"templates": ["{finding}.", "{finding}."]}, "every template once"),
        ({"rule": "logits"}, "unknown value 'logits'"),
        ({"language": "fr"}, "unknown value 'fr'"),
        ({"version": None}, "expected a value for 'version'"),
        ({"sides": {"left": ["{finding}"], "right": []}}, "as many templates of the left as of the right"),
        ({"choices": {"both": ["mass", "cyst"]}}, "choices with the rule softmax only"),
        ({"rule": "softmax", "choices": {"both": ["mass", "cist"]}}, "did you mean 'cyst'"),
        ({"rule": "softmax", "choices": {"both": "mass"}}, "list of labels in the choice 'both'"),
    ],
)
def test_wrong_protocols_are_refused(write, changes, message):
    """Each with what was expected, where, and the nearest right word."""
    with pytest.raises(ValueError, match=re.escape(message)):
        load_protocol(write(**changes))


def test_unknown_names_are_refused(write):
    """Of a protocol, with the list of those there are; of a label, with the nearest."""
    with pytest.raises(FileNotFoundError, match="did you mean 'simulated'"):
        load_protocol("simulatd")
    with pytest.raises(ValueError, match="did you mean 'mass'"):
        load_protocol(write()).only(["mas"])


@pytest.mark.parametrize("name", shipped_protocols())
def test_shipped_protocols_are_whole(name):
    """Named as their file, sources stated, several templates, no prompt said both of presence and of absence."""
    protocol = load_protocol(name)
    assert protocol.name == name
    assert len(protocol.templates) >= 5
    assert len(protocol.source) > 80
    for label in protocol.labels:
        said, denied = (
            {prompt for prompts in protocol.prompts(label, what) for prompt in prompts}
            for what in ("positive", "negative")
        )
        assert not said & denied, label.name
        assert all(prompt[0] != " " and "{" not in prompt for prompt in said | denied)


def test_shipped_protocols_have_not_been_changed():
    """A change is a new version: the fingerprint here is changed with it, knowingly."""
    assert {name: load_protocol(name).fingerprint[:16] for name in shipped_protocols()} == FINGERPRINTS


def test_help_and_page_name_every_shipped_protocol():
    """A new one is told where people look."""
    help_text = next(field for field in fields(EvaluateConfig) if field.name == "protocol").metadata["help"]
    page = (Path(__file__).parents[3] / "docs" / "zero_shot.md").read_text(encoding="utf-8")
    for name in shipped_protocols():
        assert f"{name}," in help_text or f"{name})" in help_text
        assert f"`{name}`" in page


def test_simulated_protocols_ask_for_the_labels_of_the_simulator():
    """Those of the realistic form in both languages, those of the simple form."""
    from selip.processing.sources.simulated.findings import KINDS as SIMPLE
    from selip.processing.sources.simulated.realistic.kinds import KINDS as REALISTIC

    for name in SIMULATED:
        labels = load_protocol(name).labels
        assert {label.name for label in labels} == {*(kind.term for kind in REALISTIC), "edema"}
        assert all(label.findings == (label.name,) for label in labels)
    assert {label.name for label in load_protocol("simulated-simple").labels} == {kind.term for kind in SIMPLE}


def test_head_labels_of_mr_rate_are_all_but_the_spine():
    """37 labels, 32 of them of the head, the same words for both."""
    whole, head = load_protocol("mrrate-37"), load_protocol("mrrate-head")
    assert (len(whole.labels), len(head.labels)) == (37, 32)
    assert whole.templates == head.templates
    kept = {label.name for label in head.labels}
    assert head.labels == tuple(label for label in whole.labels if label.name in kept)
    left_out = {label.name for label in whole.labels} - kept
    assert all(set(label.places) & {"spine", "spinal cord"} for label in whole.labels if label.name in left_out)
    assert not any(set(label.places) & {"spine", "spinal cord"} for label in head.labels)
