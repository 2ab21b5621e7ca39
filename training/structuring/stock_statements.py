"""What the fixed sentences of the simulated reports say, as findings: denials, regions called normal, openings.

Most follow from what the writer meant to say (a denied term is absent at its default site, a region is normal).
Sentences in `_SPECIAL` say more than that, less, or something else, and are annotated one by one, as a reader would
who knows nothing of the writer. The writers' wording itself stays in their own files; a test checks that every
sentence named here is one of theirs.
"""

from collections.abc import Iterator
from functools import cache
from types import ModuleType

from selip.processing.findings import Finding, Signal
from selip.processing.vocabulary import load_terms

_SITES_OF_REGIONS = {"cisterns": "basal cisterns", "mastoids": "mastoid", "orbits": "orbit"}
_SIGNALS_OF_DENIALS = {
    "restricted diffusion": [Signal(sequence="DWI", signal="restricted")],
    "abnormal enhancement": [Signal(sequence="T1c", signal="enhancing")],
}

_NO_SIGNAL_CHANGE = Finding(finding="signal abnormality", site="brain", certainty="absent")
_NORMAL_BRAIN = Finding(finding="normal", site="brain")
_NO_MASS_NOR_EFFECT = (
    Finding(finding="mass", site="brain", certainty="absent"),
    Finding(finding="mass effect", site="brain", certainty="absent"),
)
_BOTH_NAMED = [Signal(sequence="T2w"), Signal(sequence="FLAIR")]

_SPECIAL: dict[str, tuple[Finding, ...]] = {
    # first English writer
    "There is no acute intracranial hemorrhage.": (
        Finding(finding="hemorrhage", site="brain", acuity="acute", certainty="absent"),
    ),
    "There is no mass or mass effect.": _NO_MASS_NOR_EFFECT,
    "The sella appears normal.": (Finding(finding="normal", site="sella"),),
    "There is normal gray-white matter differentiation without focal signal abnormality.": (
        _NORMAL_BRAIN,
        _NO_SIGNAL_CHANGE.model_copy(update={"morphology": ["focal"]}),
    ),
    "No acute intracranial abnormality.": (
        Finding(finding="acute abnormality", site="brain", acuity="acute", certainty="absent"),
    ),
    "No abnormal signal is seen on T2-weighted or FLAIR images.": (
        _NO_SIGNAL_CHANGE.model_copy(update={"signals": _BOTH_NAMED}),
    ),
    # second English writer
    "Ventricles: not enlarged.": (Finding(finding="ventricular dilation", site="ventricles", certainty="absent"),),
    "Subdural or other extra-axial collection absent.": (
        Finding(finding="extra-axial collection", site="subdural space", certainty="absent"),
        Finding(finding="extra-axial collection", site="extra-axial space", certainty="absent"),
    ),
    "T2 and FLAIR: nothing abnormal.": (_NORMAL_BRAIN.model_copy(update={"signals": _BOTH_NAMED}),),
    # first Chinese writer
    "鼻窦黏膜未见增厚。": (Finding(finding="mucosal thickening", site="paranasal sinuses", certainty="absent"),),
    "双侧大脑半球对称，脑实质内未见异常信号影。": (
        Finding(finding="normal", site="cerebral hemisphere", laterality="bilateral"),
        _NO_SIGNAL_CHANGE,
    ),
    "T2WI及FLAIR序列未见异常高信号。": (
        _NO_SIGNAL_CHANGE.model_copy(
            update={"signals": [Signal(sequence="T2w", signal="hyper"), Signal(sequence="FLAIR", signal="hyper")]}
        ),
    ),
    # second Chinese writer
    "无肿瘤，无占位效应。": _NO_MASS_NOR_EFFECT,
    "脑室不大。": (Finding(finding="ventricular dilation", site="ventricles", certainty="absent"),),
    "脑沟不宽。": (Finding(finding="sulcal widening", site="sulci", certainty="absent"),),
    "脑池不宽。": (Finding(finding="sulcal widening", site="basal cisterns", certainty="absent"),),
    "T2、FLAIR：如常。": (_NORMAL_BRAIN.model_copy(update={"signals": _BOTH_NAMED}),),
    # writer of the simple form
    "No midline shift or hydrocephalus.": (
        Finding(finding="midline shift", site="midline", certainty="absent"),
        Finding(finding="hydrocephalus", site="ventricles", certainty="absent"),
    ),
    "No subdural or epidural hematoma is seen.": (
        Finding(finding="subdural hematoma", site="subdural space", certainty="absent"),
        Finding(finding="epidural hematoma", site="epidural space", certainty="absent"),
    ),
    "Paranasal sinuses and mastoid air cells are clear.": (
        Finding(finding="normal", site="paranasal sinuses"),
        Finding(finding="normal", site="mastoid"),
    ),
    "Gray-white matter differentiation is preserved, without abnormal signal.": (_NORMAL_BRAIN, _NO_SIGNAL_CHANGE),
    "Sulci and gyri are normal for age.": (
        Finding(finding="normal", site="sulci"),
        Finding(finding="normal", site="cortex"),
    ),
    "Normal head MRI without focal lesion.": (
        _NORMAL_BRAIN,
        _NO_SIGNAL_CHANGE.model_copy(update={"morphology": ["focal"]}),
    ),
    "No mass effect.": (_NO_MASS_NOR_EFFECT[1],),
}

# Sentences that a writer has outside of its tables.
_UNLISTED = (
    "No abnormal signal is seen on T2-weighted or FLAIR images.",
    "T2 and FLAIR: nothing abnormal.",
    "T2WI及FLAIR序列未见异常高信号。",
    "T2、FLAIR：如常。",
)
_SAYS_NOTHING = ("No interval change from the prior study.",)


@cache
def stock_statements(writer: ModuleType) -> dict[str, tuple[Finding, ...]]:
    """The fixed sentences of a writer of the realistic form and what each says; of artefacts, nothing.

    Args:
        writer: one of the modules `english_train`, `english_held_out`, `chinese_train`, `chinese_held_out`.
    """
    said = dict(_by_table(writer))
    said |= {sentence: () for sentence in (*writer.ARTEFACTS.values(), *_SAYS_NOTHING)}
    said |= {sentence: _SPECIAL[sentence] for sentence in _UNLISTED}
    return {sentence: _SPECIAL.get(sentence, findings) for sentence, findings in said.items()}


def _by_table(writer: ModuleType) -> Iterator[tuple[str, tuple[Finding, ...]]]:
    """The sentences by what the writer means to say with them."""
    for term, sentences in writer.DENIALS.items():
        yield from ((sentence, (denial(term),)) for sentence in sentences)
    for region, sentences in writer.REGIONS.items():
        normal = Finding(finding="normal", site=_SITES_OF_REGIONS.get(region, region))
        yield from ((sentence, (normal,)) for sentence in sentences)
    for term, sentence in writer.RESOLVED.items():
        yield sentence, (Finding(finding=term, site=_default_site(term), change="resolved"),)
    for sentence in (*writer.NORMAL_OPENINGS, *writer.NORMAL_CONCLUSIONS):
        yield sentence, (_NORMAL_BRAIN,)


def special_statement(sentence: str) -> tuple[Finding, ...] | None:
    """What a sentence says that is annotated by itself, None for any other."""
    return _SPECIAL.get(sentence)


def denial(term: str) -> Finding:
    """A denied term, as said without a site."""
    return Finding(
        finding=term,
        site=_default_site(term),
        signals=_SIGNALS_OF_DENIALS.get(term, []),
        acuity="acute" if term == "acute infarct" else "none",
        certainty="absent",
    )


def _default_site(term: str) -> str:
    return load_terms().findings[term].default_site
