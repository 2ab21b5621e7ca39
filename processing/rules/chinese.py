"""How a Chinese sentence is read: clauses, the scope of negation and hedging, one mention per lesion.

A clause is what stands between commas. It names a subject (sites), then what is seen there; a clause without a
finding tells more of the lesion before it ("FLAIR呈高信号"), a clause without a subject keeps the last one.
"""

import re
from dataclasses import replace
from itertools import pairwise

from ..vocabulary import load_terms
from .chinese_attachment import ATTRIBUTES, absorb, attach_attributes, refine, signals_of
from .chinese_sites import Sites, is_lobe_like, most_specific, site_groups, with_named_places
from .chinese_words import find_marks, narrow
from .mentions import AS_SIGNAL, Mark, Mention

_CUT = re.compile(r"(?<!\d),|[;:()\[\]\"“”，；：（）。]|(?<!\d)\.(?!\d)")
_SIDE_IN_BRACKETS = re.compile(r"\((?:左|右|双|两)侧?\)")  # 额叶(左): part of its clause
_COMPANIONS = frozenset(("edema", "mass effect", "midline shift", "herniation", *AS_SIGNAL))
_AROUND = frozenset(("subdural space", "epidural space", "extra-axial space", "subarachnoid space"))
# What is seen of a form: it has no signal of its own, so a signal told after it is another finding.
# fmt: off
_FORMS = frozenset((
    "atrophy", "ventricular dilation", "sulcal widening", "mass effect", "midline shift", "normal", "normal variant",
    "stenosis", "occlusion", "vessel tortuosity", "dolichoectasia", "mucosal thickening",
))
# fmt: on
_LIES = re.compile(r"位于|见于|累及|定位")


def read_sentence(text: str) -> list[Mention]:
    """Findings of one Chinese sentence in order, also the denied and hedged ones.

    A mention without a term (term "") holds what a sentence such as "增强扫描呈环形强化" adds to the lesion of the
    sentence before.
    """
    return _Reader(narrow(text)).read()


class _Reader:
    """Reads the clauses of one sentence from left to right.

    Attributes:
        mentions: What has been read.
        subject: Sites of the last clause that named any; a clause without sites speaks of them.
        sequences: Sequences that a heading or lead-in named for the clauses behind it ("MRA：").
    """

    def __init__(self, text: str):
        self.text = text
        self.marks = find_marks(text)
        self.mentions: list[Mention] = []
        self.subject: Sites = []
        self.pending: Sites = []
        self.sequences: list[str] = []

    def read(self) -> list[Mention]:
        for start, stop in self._clauses():
            marks = [m for m in self.marks if start <= m.first < stop and m.kind != "boundary"]
            if marks:
                self._read_clause(marks, start, stop)
        return self.mentions

    def _clauses(self) -> list[tuple[int, int]]:
        bracketed = {i for m in _SIDE_IN_BRACKETS.finditer(self.text) for i in (m.start(), m.end() - 1)}
        cuts = {m.end() for m in _CUT.finditer(self.text) if m.start() not in bracketed}
        cuts |= {m.first for m in self.marks if m.kind == "boundary"}
        edges = [0, *sorted(cuts), len(self.text)]
        return [(a, b) for a, b in pairwise(edges) if b > a]

    def _read_clause(self, marks: list[Mark], start: int, stop: int) -> None:
        marks = with_named_places(marks)
        groups = site_groups(marks, self.text)
        is_single = _first(marks, "singled_out") is not None
        own = self._findings(marks, groups, start, stop)
        if not own and is_single and groups and self.mentions:
            own = [self._singled_out(groups[-1][2], start, stop)]
        signals = signals_of(marks, own, self.sequences)
        bare = {pair for pair in signals if pair[1] != "none"}
        negated = _first(marks, "negation") is not None
        if not own and bare and (negated or self._starts_anew(groups)):
            own = [Mention("signal abnormality", start, stop, "absent" if negated else "present")]
            self._place(own[0], groups, start)
        if own:
            self._take_over(own, marks, signals, start, stop)
        elif groups and not bare and self._is_subject(groups, marks, start):
            self._name_place(groups[-1], start, stop)
            self._lead(marks)
        elif self._denies(marks, start):
            self.mentions[-1].certainty = "absent"
        else:
            self._add(marks, signals, start, stop)
        if groups and own:
            self.subject, self.pending = groups[-1][2], []

    def _is_subject(self, groups: list[tuple[int, int, Sites]], marks: list[Mark], start: int) -> bool:
        """Whether a clause without a finding opens with a place, or says that something lies there; "长轴垂直于侧脑室"
        only describes."""
        first = min([groups[0][0], *(m.first for m in marks if m.kind in ("laterality", "sequences"))])
        return first - start <= 2 or _LIES.search(self.text, start, groups[0][0]) is not None

    def _name_place(self, group: tuple[int, int, Sites], start: int, stop: int) -> None:
        """A clause of nothing but a place: where the finding before it is, if that has none, else of what follows."""
        last = self.mentions[-1] if self.mentions else None
        is_alone = _trimmed(self.text, start, stop) - group[1] <= 4
        if last is not None and last.term and not last.sites and is_alone:
            last.sites = list(group[2])
        else:
            self.pending = self.subject = group[2]

    def _denies(self, marks: list[Mark], start: int) -> bool:
        """Whether a clause after a colon only says that what stands before it is not there ("脑积水：无")."""
        is_answer = start > 0 and self.text[start - 1] == ":" and all(m.kind == "negation" for m in marks)
        return is_answer and bool(self.mentions)

    def _starts_anew(self, groups: list[tuple[int, int, Sites]]) -> bool:
        """Whether a signal without a noun is a finding of its own: it has a place, or follows what has no signal."""
        if groups or self.pending:
            return True
        return bool(self.mentions) and self.mentions[-1].term in _FORMS

    def _findings(
        self, marks: list[Mark], groups: list[tuple[int, int, Sites]], start: int, stop: int
    ) -> list[Mention]:
        own: list[Mention] = []
        cues = [m for m in marks if m.kind in ("certainty", "negation", "consistent")]
        for mark in most_specific(marks, lambda mark: self._sites_before(mark, groups)):
            term, certainty = self._term(mark, groups, marks)
            if not term or self._is_reference(term, mark, groups, marks) or self._is_swallowed(term, mark, marks):
                continue
            mention = Mention(term, mark.first, mark.stop, certainty or _certainty(mark, marks, cues, self.text))
            if mark.kind == "shift":
                mention.side, mention.sites = str(mark.value), []
            elif not any(m.term == term and m.certainty == mention.certainty and m.sites == [] for m in own):
                self._place(mention, groups, start)
            if any((m.term, m.sites, m.certainty) == (term, mention.sites, mention.certainty) for m in own):
                continue
            own.append(mention)
        own = _without_general_terms(own, self.text)
        return [m for m in own if not self._is_signal_of_lesion(m, own)]

    def _term(self, mark: Mark, groups: list[tuple[int, int, Sites]], marks: list[Mark]) -> tuple[str, str | None]:
        """Finding that a mark names, "" if none, and the certainty where the word itself gives it."""
        if mark.kind == "findings":
            return str(mark.value), None
        if mark.kind == "shift":
            return "midline shift", None
        if mark.kind not in ("predicate", "denial"):
            return "", None
        sites = self._sites_before(mark, groups)
        site, term = mark.value
        if not any(load_terms().is_within(s, site) for s, _ in sites):
            return "", None
        return term, "absent" if mark.kind == "denial" else None

    def _sites_before(self, mark: Mark, groups: list[tuple[int, int, Sites]]) -> Sites:
        before = [sites for first, _, sites in groups if first < mark.first]
        return before[-1] if before else self.pending or self.subject

    def _is_reference(self, term: str, mark: Mark, groups: list[tuple[int, int, Sites]], marks: list[Mark]) -> bool:
        """Whether a noun only points at the lesion spoken of ("病灶周围见水肿", "肿块呈不均匀强化")."""
        if not any(m.kind == "back_reference" and m.first == mark.first and m.stop == mark.stop for m in marks):
            return False
        if any(first < mark.first for first, _, _ in groups):
            return False
        led = any(m.kind in ("seen", "negation", "count", "certainty") and m.first < mark.first for m in marks)
        return not led

    def _is_swallowed(self, term: str, mark: Mark, marks: list[Mark]) -> bool:
        """Whether a word is part of something else: a signal word that is also a term, a form of a lesion."""
        if term == "mass" and self.text[mark.stop : mark.stop + 1] in ("状", "样"):
            return True
        return (
            term == "normal"
            and self.text[mark.first : mark.stop] == "存在"
            and not any(m.kind == "sites" for m in marks)
        )

    def _is_signal_of_lesion(self, mention: Mention, own: list[Mention]) -> bool:
        """Enhancement and restriction of a lesion of the sentence are its signals, not findings."""
        if mention.term not in AS_SIGNAL or mention.certainty == "absent":
            return False
        lesions = [m for m in (*self.mentions, *own) if m is not mention and m.first <= mention.first]
        lesions = [m for m in lesions if m.certainty != "absent" and m.term not in (*_FORMS, *AS_SIGNAL)]
        has_place = any(site for site in mention.sites if lesions and site not in lesions[-1].sites)
        return not has_place and (bool(lesions) or not mention.sites)

    def _place(self, mention: Mention, groups: list[tuple[int, int, Sites]], start: int) -> None:
        """Sites of a finding: the last that stand before it in its clause, else those that follow it, else the
        subject."""
        before = [sites for first, _, sites in groups if first < mention.stop]
        behind = [sites for first, _, sites in groups if first >= mention.stop]
        kind = load_terms().findings[mention.term]
        if before or (behind and kind.kind != "status"):
            mention.sites = list(before[-1] if before else behind[0])
        elif self.pending:
            mention.sites = list(self.pending)
        elif self.subject and self._keeps_subject(mention):
            mention.sites = list(self.subject)
        elif self._follows(mention):
            is_companion = mention.term in _COMPANIONS or not self.mentions
            mention.sites = [] if is_companion else list(self._lesion().sites)
            mention.is_back_reference = True
        default = kind.default_site
        if default in _AROUND and mention.sites:
            is_beside = all(is_lobe_like(site) for site, _ in mention.sites)
            if is_beside:  # the place of what lies on the brain is the space, not the lobe beside it
                sides = {side for _, side in mention.sites}
                mention.sites = [(default, sides.pop() if len(sides) == 1 else "bilateral")]

    def _keeps_subject(self, mention: Mention) -> bool:
        """Whether a finding without a place is said of the subject of the clauses before it. A denial is where it
        follows a lesion; after a region that is normal it speaks of everywhere."""
        if mention.term == "signal abnormality" and mention.certainty == "absent":
            return bool(self.mentions) and self.mentions[-1].term not in ("normal", "normal variant")
        return mention.term in _FORMS or mention.term == "signal abnormality"

    def _lesion(self) -> Mention:
        """The lesion that the sentence speaks of: the last mention that is more than what goes with a lesion."""
        lesions = [m for m in self.mentions if m.certainty != "absent" and m.term not in (*_FORMS, *_COMPANIONS)]
        return (lesions or self.mentions)[-1]

    def _follows(self, mention: Mention) -> bool:
        """Whether a finding without a place stands where the lesion before it in the sentence does.

        A word that names the brain itself (脑萎缩) has its place. A denial speaks of everywhere, but for a relapse and
        for enhancement or restriction that is not called abnormal: those are denied of the lesion.
        """
        word = self.text[mention.first : mention.stop]
        if mention.certainty == "absent":
            is_relapse = "复发" in word or self.text.startswith(("复发", "残留"), mention.stop)
            return is_relapse or (mention.term in AS_SIGNAL and "异常" not in word)
        kind = load_terms().findings[mention.term]
        is_free = "脑" not in word or (mention.certainty != "present" and kind.kind == "diagnosis")
        is_lesion = kind.kind != "status" and is_free and load_terms().is_within(kind.default_site, "brain")
        return is_lesion and bool(self.mentions)

    def _singled_out(self, sites: Sites, start: int, stop: int) -> Mention:
        """The lesion that is singled out of a group: the group's term and signals at a place of its own."""
        group = next((m for m in reversed(self.mentions) if m.certainty != "absent"), self.mentions[-1])
        signals, morphology = set(group.signals), set(group.morphology)
        return replace(
            group, first=start, stop=stop, sites=list(sites), signals=signals, morphology=morphology, count=1
        )

    def _take_over(
        self, own: list[Mention], marks: list[Mark], signals: set[tuple[str, str]], start: int, stop: int
    ) -> None:
        """Give the findings of a clause what stands around them and add them to the sentence."""
        linked = [m for m in marks if m.kind == "consistent"]
        for mention in own:
            mention.quote = (start, _trimmed(self.text, start, stop))
        named = [m for m in own if m.term not in ("normal", "midline shift")] or own
        if signals:
            self._give_signals(named, signals)
        attach_attributes(marks, own, self.text)
        for mention in own:
            refine(mention)
        last = self.mentions[-1] if self.mentions else None
        first = own[0]
        kinds = load_terms().findings
        is_diagnosis = first.certainty == "present" and kinds[first.term].kind == "diagnosis"
        is_description = last is not None and last.term and kinds[last.term].kind == "description"
        if last is not None and is_description and is_diagnosis and linked and linked[0].first <= first.first:
            absorb(first, last)
            self.mentions.remove(last)
        self.mentions += own

    def _give_signals(self, named: list[Mention], signals: set[tuple[str, str]]) -> None:
        for mention in named:
            if mention.term in AS_SIGNAL:
                only = {pair for pair in signals if pair[1] == AS_SIGNAL[mention.term][1]}
                mention.signals |= only or {AS_SIGNAL[mention.term]}
            elif mention is named[0] or mention.term in ("signal abnormality", "mass", named[0].term):
                mention.signals |= signals

    def _lead(self, marks: list[Mark]) -> None:
        named = [m.value for m in marks if m.kind == "sequences"]
        if named:
            self.sequences = named

    def _add(self, marks: list[Mark], signals: set[tuple[str, str]], start: int, stop: int) -> None:
        """What a clause without a finding tells of the lesion before it."""
        if not signals and not any(m.kind in ATTRIBUTES for m in marks):
            self._lead(marks)
            return
        if not self.mentions:
            self.mentions.append(Mention("", start, stop, quote=(start, _trimmed(self.text, start, stop))))
        if self.mentions[-1].certainty == "absent":
            return
        target = self._lesion() if signals else self.mentions[-1]
        target.signals |= {pair for pair in signals if pair[1] != "none"}
        attach_attributes(marks, [target], self.text)
        refine(target)
        target.quote = (target.quote[0], _trimmed(self.text, start, stop))


def _first(marks: list[Mark], kind: str) -> Mark | None:
    return next((m for m in marks if m.kind == kind), None)


def _certainty(mark: Mark, marks: list[Mark], cues: list[Mark], text: str) -> str:
    """The cue that governs a finding: a hedge behind it first, then the last cue before it in its clause."""
    findings = [m for m in marks if m.kind in ("findings", "predicate")]
    behind = [c for c in cues if c.kind == "certainty" and c.first >= mark.stop]
    before = [c for c in cues if c.first < mark.first and c.kind != "consistent"]
    governing = before[-1] if before else None
    if governing is not None and governing.kind == "negation":
        return "absent"
    if behind and not any(mark.stop <= f.first < behind[0].first and f.first != mark.first for f in findings):
        own = str(behind[0].value)
    elif behind:
        between = text[mark.stop : behind[0].first]
        own = str(behind[0].value) if re.search(r"^[、或及和与/]|或", between) else ""
    else:
        own = ""
    if governing is not None:
        return "probable" if governing.value == "probable" else own or str(governing.value)
    return own or "present"


def _without_general_terms(own: list[Mention], text: str) -> list[Mention]:
    """A clause that names what it is needs no "signal" besides: 水肿信号, 囊性病变; a list of denials keeps both."""
    specific = [m for m in own if m.term != "signal abnormality" and m.certainty != "absent"]
    kept = []
    for mention in own:
        near = [s for s in specific if s.sites == mention.sites and s.term not in ("normal", *AS_SIGNAL)]
        if mention.term == "signal abnormality" and mention.certainty != "absent" and near:
            continue
        kept.append(mention)
    return kept


def _trimmed(text: str, start: int, stop: int) -> int:
    """End of a clause without its closing mark."""
    while stop > start and (text[stop - 1] in ",;:()，；：（）。. "):
        stop -= 1
    return stop
