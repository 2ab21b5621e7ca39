"""Which words of an English sentence mean something: lexicon phrases, words named by their site, what is left out."""

from collections.abc import Iterator
from functools import cache
from itertools import pairwise, permutations, product
from typing import Any

from ..vocabulary import load_lexicon, load_terms
from .english_left_out import (
    BEDS,
    OTHER_SOURCES,
    SCAN,
    is_told_by_ct,
    tells_another_source,
    without_beds,
    without_conditions,
    without_history,
    without_preamble,
    without_removed,
    without_unread,
)
from .matching import Match, PhraseMatcher, Token
from .mentions import Mark

_PLURAL_GROUPS = ("findings", "sites")
_CUES = (
    "consistent",
    "boundary",
    "back_reference",
    "neutral",
    "history",
    "differential",
    "removed",
    "unread",
    "outside",
)
_DIRECTION = {"increased": "hyper", "high": "hyper", "decreased": "hypo", "low": "hypo", "reduced": "hypo"}
_DIRECTION |= {"elevated": "hyper", "bright": "hyper", "dark": "hypo", "abnormal": "none"}
# Relaxation: long T1 is dark, long T2 is bright.
_RELAXATION = {("T1w", "prolongation"): "hypo", ("T1w", "shortening"): "hyper"}
_RELAXATION |= {("T2w", "prolongation"): "hyper", ("T2w", "shortening"): "hypo", ("FLAIR", "prolongation"): "hyper"}
_SIGNAL_NOUNS = frozenset(("signal", "signals", "abnormality", "abnormalities", "change", "changes"))
_BARE_NOUNS = frozenset(("abnormality", "abnormalities", "pathology"))
_BARE_WORDS = frozenset(("or", "and", ",", "structural", "other", "parenchymal", "intrinsic", "gross", "significant"))
_CHANGE_NOUNS = frozenset(("change", "changes", "disease", "abnormality", "abnormalities"))
# What stands between a word of width and the space that it is said of: "prominence of the lateral ventricles".
_BETWEEN_CAUSES = frozenset(("or", "/", ",", "and", "versus"))
_VENOGRAMS = frozenset(("mrv", "venogram", "venography"))
# fmt: off
_BEHIND_PRONOUNS = frozenset((
    "of", "are", "were", "have", "enhance", "show", "showed", "demonstrate", "demonstrated", "lesions", "measure",
    "restrict", "lesion", "masses", "foci", "appear", "exhibit",
))
# fmt: on
_SYMMETRIC = frozenset(("symmetric", "symmetrical"))
_SEEN_IN_TISSUE = frozenset(("atrophy", "edema"))
_PARTING = frozenset((";", ":"))
_LOCATING = frozenset(("in", "within", "on", "at", "involving"))
_OF = frozenset(("of", "the", "both", "cerebral", "cortical", "overlying", "adjacent", "underlying"))


@cache
def english_matcher() -> PhraseMatcher:
    """The matcher over all English words of the lexicon, with British spellings and plurals."""
    return PhraseMatcher(_phrases())


def _phrases() -> Iterator[tuple[str, str, Any]]:
    lexicon = load_lexicon("en")
    spelling = [(a, b) for a, b in lexicon.extra["spelling"]]
    for group, rows in lexicon.words.items():
        for term, words in rows.items():
            value = (term,) if group == "sites" else term
            for word in {lexicon.names[group][term], *words} - {""}:
                for phrase in _variants(word, spelling, plural=group in _PLURAL_GROUPS):
                    yield phrase, group, value
    for word, sites in lexicon.extra["compound_sites"].items():
        yield word, "sites", tuple(sites)
    for word, (term, site) in lexicon.extra["placed_findings"].items():
        for phrase in _variants(word, spelling, plural=True):
            yield phrase, "findings", term
            yield phrase, "sites", (site,)
    for row in lexicon.extra["shared_nouns"]:
        for (one, term), (other, next_term) in permutations(row["terms"].items(), 2):
            for joint, noun in product(("and", "or") if term != next_term else (), row["words"]):
                for phrase in _variants(f"{one} {joint} {other} {noun}", spelling, plural=False):
                    yield from ((phrase, "findings", term), (phrase, "findings", next_term))
    for word, term in lexicon.extra["denied_findings"].items():
        yield word, "findings", term
        yield word, "certainty", "absent"
    for kind, table in (("certainty", "hedge_patterns"), ("closing_hedge", "closing_hedge_patterns")):
        for level, patterns in lexicon.extra[table].items():
            for slots in patterns:
                for parts in product(*slots):
                    for phrase in _variants(" ".join(parts), spelling, plural=False):
                        yield phrase, kind, level
    for row in lexicon.extra["predicates"]:
        for word in row["words"]:
            yield word, "predicates", tuple(row["terms"].items())
    for word, term in lexicon.extra["causes"].items():
        for phrase in _variants(word, spelling, plural=False):
            yield phrase, "causes", term
    for group in _CUES:
        for word in lexicon.extra[group]:
            yield word, group, word


def _variants(word: str, spelling: list[tuple[str, str]], *, plural: bool) -> set[str]:
    forms = {word}
    for american, british in spelling:
        if american in word:  # few are, and there are tens of thousands of hedges
            forms |= {form.replace(american, british) for form in forms}
    if plural:
        for form in tuple(forms):
            if form.endswith("is"):
                forms.add(form[:-2] + "es")
            elif form.endswith("y") and form[-2] not in "aeiou":
                forms.add(form[:-1] + "ies")
            elif not form.endswith("s"):
                forms.add(form + ("es" if form.endswith(("x", "ch", "sh")) else "s"))
    return forms


def read_marks(tokens: list[Token], said: list[str], words: set[str]) -> list[Mark]:
    """Words and phrases of a sentence that mean something, in order; none where the sentence tells no MRI.

    `said` are the words of the tokens in order, `words` the same as a set: most steps concern few sentences.
    """
    if not OTHER_SOURCES.isdisjoint(words) and tells_another_source(tokens):
        return []
    marks = _marks(english_matcher().find(said))
    kinds = {m.kind for m in marks}
    marks = marks if SCAN.isdisjoint(words) else without_preamble(marks, tokens)
    marks = without_history(marks, tokens)
    if "ct" in words:  # "with rim calcification on CT"
        marks = [m for m in marks if m.kind != "findings" or not is_told_by_ct(m, tokens)]
    if "vermis" in words:  # "of the vermis more than the hemispheres"
        for mark in marks:
            is_bare = mark.value == ("cerebral hemisphere",) and tokens[mark.first].word.startswith("hemispher")
            mark.value = ("cerebellar hemisphere",) if is_bare else mark.value
    if not _VENOGRAMS.isdisjoint(words):  # "MRV shows the sinus to be patent"
        for mark in marks:
            mark.value = ("dural venous sinuses",) if mark.value == ("paranasal sinuses",) else mark.value
    if "both" in words:
        marks = [m for m in marks if m.value != "bilateral" or not _is_pronoun(m, tokens)]
    if "sequences" in kinds or "matter" in words or not _BARE_NOUNS.isdisjoint(words):
        _name_bare_signals(marks, tokens)
    if not _SYMMETRIC.isdisjoint(words):
        _name_symmetric_structures(marks, tokens)
    if "and" in words and any([m.value in _SEEN_IN_TISSUE for m in marks]):
        _name_signals_beside(marks, tokens)
    kinds = {m.kind for m in marks}
    marks = without_unread(marks, tokens) if "unread" in kinds else marks
    if ":" in words:
        _name_differentials(marks, tokens)
    if "if" in words:
        marks = without_conditions(marks, tokens)
    if not BEDS.isdisjoint(words):
        marks = without_beds(marks, tokens)
    return without_removed(marks, tokens) if "removed" in kinds else marks


def _marks(matches: list[Match]) -> list[Mark]:
    return [
        Mark(kind, value, first, stop)
        for meanings, first, stop in matches
        for kind, value in meanings
        if kind != "neutral"
    ]


def _name_differentials(marks: list[Mark], tokens: list[Token]) -> None:
    """ "Pineal mass: germinoma, pineoblastoma or meningioma": a list of diagnoses behind a colon is a differential."""
    colon = next(i for i, t in enumerate(tokens) if t.word == ":")
    findings = [m for m in marks if m.kind == "findings"]
    kinds = load_terms().findings
    told = [m for m in findings if m.first < colon]
    listed = [m for m in findings if m.first > colon]
    if not told or kinds[told[-1].value].kind != "description" or len(listed) < 2:
        return
    words = {t.word for t in tokens[listed[0].stop : listed[-1].first]}
    if words & {"or", "vs", "versus"} and all(kinds[m.value].kind == "diagnosis" for m in listed):
        marks.append(Mark("differential", "differential", colon, colon + 1))
        marks.sort(key=lambda m: m.first)


def _name_bare_signals(marks: list[Mark], tokens: list[Token]) -> None:
    """Read "increased T2 signal": a direction before a sequence is a signal, "signal" after it the finding.

    So are "T1 shortening" and "T2 prolongation".
    """
    sequences = [m for m in marks if m.kind == "sequences"]
    if sequences:  # "on both T1 and T2" tells no side
        starts = {m.first for m in sequences}
        sides = [m for m in marks if m.kind == "laterality" and m.stop in starts and tokens[m.first].word == "both"]
        marks[:] = [m for m in marks if m not in sides] if sides else marks
    covered = {i for m in marks for i in range(m.first, m.stop)}
    _name_denied_abnormalities(marks, tokens, covered)
    for site in [m for m in marks if m.kind == "sites"]:
        is_tissue = tokens[site.stop - 1].word == "matter" and tokens[site.stop - 2].word == "white"
        behind = site.stop
        if is_tissue and behind < len(tokens) and behind not in covered and tokens[behind].word in _CHANGE_NOUNS:
            marks.append(Mark("findings", "white matter lesion", behind, behind + 1))
    for sequence in sequences:
        word = _DIRECTION.get(tokens[sequence.first - 1].word) if sequence.first else None
        if word is not None and sequence.first - 1 not in covered:
            marks.append(Mark("signals", word, sequence.first - 1, sequence.first))
        behind = sequence.stop
        if behind >= len(tokens) or behind in covered:
            continue
        relaxation = _RELAXATION.get((sequence.value, tokens[behind].word))
        if relaxation is not None:
            marks.append(Mark("signals", relaxation, behind, behind + 1))
        if relaxation is not None or tokens[behind].word in _SIGNAL_NOUNS:
            marks.append(Mark("findings", "signal abnormality", behind, behind + 1))
            covered.add(behind)
    marks.sort(key=lambda m: m.first)


def _name_symmetric_structures(marks: list[Mark], tokens: list[Token]) -> None:
    """ "Hippocampi symmetric.": without a verb, too, what is symmetric is normal."""
    for site in [m for m in marks if m.kind == "sites"]:
        ends = site.stop + 1 == len(tokens) or (site.stop + 1 < len(tokens) and tokens[site.stop + 1].word in ".;,")
        if ends and tokens[site.stop].word in _SYMMETRIC:
            marks[:] = [m for m in marks if m.first != site.stop]
            marks.append(Mark("findings", "normal", site.stop, site.stop + 1))
    marks.sort(key=lambda m: m.first)


def _name_signals_beside(marks: list[Mark], tokens: list[Token]) -> None:
    """ "The hippocampus is atrophic and bright on FLAIR": the signal is seen beside the change of size."""
    sequences = {i for m in marks if m.kind == "sequences" for i in range(m.first, m.stop)}
    for signal in [m for m in marks if m.kind == "signals" and m.value in ("hyper", "hypo", "mixed")]:
        before = next((m for m in marks if m.value in _SEEN_IN_TISSUE and 0 < signal.first - m.stop <= 4), None)
        if before is not None and not any(m.kind == "findings" and m.first >= before.stop for m in marks):
            gap = [i for i in range(before.stop, signal.first) if i not in sequences]
            if tokens[before.stop].word == "and" and {tokens[i].word for i in gap} <= {"and", "is", "mildly"}:
                marks.append(Mark("findings", "signal abnormality", signal.first, signal.stop))
            continue
        behind = next((m for m in marks if m.value in _SEEN_IN_TISSUE and 0 < m.first - signal.stop <= 4), None)
        if behind is not None and not any(m.kind == "findings" and m.first < behind.first for m in marks):
            gap = [i for i in range(signal.stop, behind.first) if i not in sequences]
            if {tokens[i].word for i in gap} <= {"and", "on", "images"} and tokens[behind.first - 1].word == "and":
                marks.append(Mark("findings", "signal abnormality", signal.first, signal.stop))
    marks.sort(key=lambda m: m.first)


def _is_pronoun(mark: Mark, tokens: list[Token]) -> bool:
    """Whether "both" stands for the lesions spoken of ("both enhance", "both of which are surrounded by edema")."""
    following = tokens[mark.stop].word if mark.stop < len(tokens) else "."
    return tokens[mark.first].word == "both" and mark.stop - mark.first == 1 and following in _BEHIND_PRONOUNS


def _name_denied_abnormalities(marks: list[Mark], tokens: list[Token], covered: set[int]) -> None:
    """ "No cerebral or cerebellar abnormality": what has no abnormality is normal."""
    for cue in [m for m in marks if m.kind == "certainty" and m.value == "absent"]:
        end = next((i for i in range(cue.stop, min(cue.stop + 8, len(tokens))) if tokens[i].word in _BARE_NOUNS), None)
        if end is None:
            continue
        is_new = any(m.value == "new" and cue.stop <= m.first < cue.stop + 4 for m in marks)
        if is_new or end in covered or any(m.kind == "findings" and cue.stop <= m.first < end for m in marks):
            continue
        if all(i in covered or tokens[i].word in _BARE_WORDS for i in range(cue.stop, end)):
            marks.remove(cue)
            marks.append(Mark("findings", "normal", end, end + 1))


def with_predicates(marks: list[Mark], tokens: list[Token]) -> list[Mark]:
    """Words whose finding depends on the site are named by it ("the ventricles are prominent", "mastoid fluid").

    A word that names a finding without a site, too ("any"), does so where no site names it better.
    """
    named = []
    for mark in marks:
        if mark.kind != "predicates":
            named.append(mark)
            continue
        term = _term_by_site(mark, marks, tokens)
        if term:
            named.append(Mark("findings", term, mark.first, mark.stop))
    return named


def _term_by_site(predicate: Mark, marks: list[Mark], tokens: list[Token]) -> str | None:
    terms = dict(predicate.value)
    findings = [m for m in marks if m.kind == "findings"]
    for site in _sites_of(predicate, marks, tokens, findings):
        for ancestor, term in terms.items():
            if ancestor != "any" and load_terms().is_within(site.value[0], ancestor):
                return term or None
    return terms.get("any")


def _sites_of(predicate: Mark, marks: list[Mark], tokens: list[Token], findings: list[Mark]) -> Iterator[Mark]:
    """The site that follows at once or across "of", else the nearest before with no other finding between."""
    sites = [m for m in marks if m.kind == "sites"]
    following = next((s for s in sites if s.first >= predicate.stop), None)
    sides = {i for m in marks if m.kind == "laterality" for i in range(m.first, m.stop)}
    while following is not None:  # "prominent bifrontal extra-axial spaces": the last of places that touch
        nearer = next((s for s in sites if s.first == following.stop), None)
        if nearer is None:
            break
        following = nearer
    if following is not None:
        gap = range(predicate.stop, following.first)
        if len(gap) <= 4 and all(
            i in sides or tokens[i].word in _OF or tokens[i].word in ("in", "within") for i in gap
        ):
            yield following
            return
    before = [s for s in sites if s.stop <= predicate.first]
    if before and not any(before[-1].stop <= f.first < predicate.first for f in findings if f.value != "normal"):
        yield from reversed(before)
    elif following is not None and not any(predicate.stop <= f.first < following.first for f in findings):
        within = {t.word for t in tokens[predicate.stop : following.first]}
        if within & {"in", "within", "involving", "at"}:
            yield following


def with_causes(marks: list[Mark], tokens: list[Token]) -> list[Mark]:
    """A hedged adjective that ends its phrase names a diagnosis ("probably ischemic or demyelinating in nature")."""
    hedges = {m.stop for m in marks if m.kind == "certainty" and m.value in ("probable", "possible")}
    ends: set[int] = set()
    read = []
    for mark in marks:
        if mark.kind != "causes":
            read.append(mark)
            continue
        following = tokens[mark.stop].word if mark.stop < len(tokens) else "."
        is_led = mark.first in hedges or any(
            0 <= mark.first - end <= 2 and {t.word for t in tokens[end : mark.first]} & _BETWEEN_CAUSES for end in ends
        )
        if is_led and (not following.isalnum() or following in ("or", "and", "in", "versus", "given", "etiology")):
            read.append(Mark("findings", mark.value, mark.first, mark.stop))
            ends.add(mark.stop)
    return read


def split_segments(marks: list[Mark], tokens: list[Token], words: set[str]) -> list[tuple[list[Mark], int, int]]:
    """Parts of a sentence between semicolons and boundary words; scopes of negation and hedging end there.

    `words` are those of the tokens: most sentences have no such mark.
    """
    cuts = [mark.first for mark in marks if mark.kind == "boundary"]
    if not _PARTING.isdisjoint(words):
        headings = {m.stop for m in marks if m.kind == "differential"}  # "Differential considerations: ..."
        cuts += [i for i, token in enumerate(tokens) if token.word in _PARTING and i not in headings]
    if not cuts:
        return [(marks, 0, len(tokens))] if marks else []
    edges = [0, *sorted(set(cuts)), len(tokens)]
    parts: list[tuple[list[Mark], int, int]] = []
    for start, stop in pairwise(edges):
        inside = [m for m in marks if start <= m.first < stop and m.kind != "boundary"]
        is_led = start < len(tokens) and (
            tokens[start].word == "there" or (tokens[start].word == ":" and _is_place(parts, tokens))
        )
        tells = ("findings", "signals", "predicates")
        if is_led and len(parts) == 1 and all(m.kind not in tells for m in parts[0][0]):
            # "In the left thalamus there is ...", "On DWI there is ...": a lead-in belongs to what it leads up to.
            lead, start, _ = parts.pop()
            inside = _lead_in(lead, inside, tokens[start].word) + inside
        if inside:
            parts.append((inside, start, stop))
    return parts


def _lead_in(lead: list[Mark], inside: list[Mark], first_word: str) -> list[Mark]:
    """What a heading adds: a statement that names a place of its own does not stand at that of its heading."""
    is_heading = first_word not in _LOCATING and any(m.kind in ("findings", "predicates") for m in inside)
    if is_heading and any(m.kind == "sites" for m in inside):
        return [m for m in lead if m.kind != "sites"]
    return lead


def _is_place(parts: list[tuple[list[Mark], int, int]], tokens: list[Token]) -> bool:
    """Whether what stands before a colon says where ("Left thalamus: ..."), not what was done ("MRI brain: ...")."""
    if len(parts) != 1:
        return False
    marks, start, stop = parts[0]
    sites = [m for m in marks if m.kind == "sites" and m.value != ("brain",)]
    return bool(sites) and not any(t.word in SCAN for t in tokens[start:stop])
