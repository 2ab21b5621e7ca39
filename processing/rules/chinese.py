"""How a Chinese sentence is read: clauses, the scope of negation and hedging, one mention per lesion."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from ..reports import Sentence
from ..vocabulary import load_terms
from .chinese_attachment import add_attribute, add_signals, trend_of
from .chinese_marks import Predicate, find_marks, readable
from .chinese_places import Place, find_places
from .english import ACCOMPANYING, AS_SIGNAL
from .english_attachment import Mark, Mention

_FINDINGS = ("findings", "predicates", "clear")
_SIGNALS = ("signal", "relaxation", "bare")
_QUOTED = (*_FINDINGS, *_SIGNALS, "laterality", "sites", "lobes", "sequences", "morphology", "count", "severity", "acuity")
_ATTRIBUTES = ("morphology", "severity", "acuity", "count", "size", "change")
# What has no signal of its own: a signal beside it in a sentence is another finding.
_WITHOUT_SIGNAL = frozenset((
    "normal", "normal variant", "atrophy", "ventricular dilation", "sulcal widening", "mass effect", "midline shift", "herniation",
    "hydrocephalus", "postoperative change", "artifact", "fracture", "sellar enlargement", "chiari malformation", "vessel tortuosity",
    "stenosis", "occlusion", "mucosal thickening",
))  # fmt: skip
# What stands where it stands, whatever the sentence spoke of before.
_KEEPS_ITS_SITE = frozenset(("herniation", "hydrocephalus", "atrophy", "midline shift", "normal", "normal variant", "artifact"))
_JOINERS = frozenset("、及和与以内区处的段侧均各")
_MARGINS = ("well-defined", "ill-defined", "homogeneous", "heterogeneous", "smooth")
_VAGUE_SITES = ("brain", "white matter", "basal ganglia", "cerebellum")
_SHOWS = ("示", "显示")  # "DWI shows the lesion ...": what follows need not be new
_BEHIND = ("可能", "待", "有待")  # hedges that stand behind what they hedge, if it is directly before them
_AGED = {"infarct": {"acute": "acute infarct", "subacute": "subacute infarct", "chronic": "chronic infarct"}}
_AGED["lacune"] = {"acute": "acute infarct", "subacute": "subacute infarct"}
_AGE_OF = {"acute infarct": "acute", "acute abnormality": "acute", "subacute infarct": "subacute", "chronic infarct": "chronic"}
_AGE_OF |= {"lacune": "chronic", "encephalomalacia": "chronic"}


# A sentence ends at its mark, at a line end, and before the number of a list, which belongs to none ("1.", "2、", "(3)").
_END = re.compile(r"(?<=[。！？!?])\s*|\n\s*|(?<![\d.A-Za-z])(?:[(（]\d{1,2}[)）]|\d{1,2}[.．、)）](?!\d)|[①-⑨])\s*")


_HEADING = re.compile(r"[^,;:，。；：、]{1,16}[:：]")
_OF_A_PART = re.compile(r"其?(?:部分|内|中心|中央|边缘|周边|内部)")


@dataclass
class _Clause:
    """Marks between two stops, with the stops around them ("" at the ends of the sentence)."""

    marks: list[Mark]
    start: int
    stop: int
    opener: str
    closer: str

    def __post_init__(self) -> None:
        self._by_kind: dict[str, list[Mark]] = {}
        for mark in self.marks:
            self._by_kind.setdefault(mark.kind, []).append(mark)

    def of(self, *kinds: str) -> list[Mark]:
        """Marks of some kinds in the order of the text."""
        if len(kinds) == 1:
            return self._by_kind.get(kinds[0], [])
        found = [mark for kind in kinds for mark in self._by_kind.get(kind, ())]
        return sorted(found, key=_first) if len(found) > 1 else found

    def with_marks(self, marks: list[Mark]) -> "_Clause":
        """The clause with other marks."""
        return _Clause(marks, self.start, self.stop, self.opener, self.closer)


@dataclass
class _Item:
    """A finding of a clause at characters [first, stop), and the mentions it turned out to be."""

    mark: Mark
    term: str
    places: list[Place]
    certainty: str = "present"
    mentions: list[Mention] = field(default_factory=list)


def heading_sequence(sentence: str) -> str | None:
    """Sequence named by the heading that opens a sentence (头颅MRA：), "" for another heading, None without one."""
    heading = _HEADING.match(sentence)
    if heading is None:
        return None
    return "MRA" if any(m.value == "MRA" for m in find_marks(readable(heading.group())[0])) else ""


def split_chinese_sentences(text: str) -> list[Sentence]:
    """Sentences of a Chinese section in order, list numbers left out, with their offsets."""
    edges = [0, *(edge for gap in _END.finditer(text) for edge in gap.span()), len(text)]
    parts = ((text[start:stop], start) for start, stop in zip(edges[::2], edges[1::2], strict=True))
    stripped = ((part.strip(), start + len(part) - len(part.lstrip())) for part, start in parts)
    return [Sentence(part, start, start + len(part)) for part, start in stripped if part]


def read_sentence(text: str) -> list[Mention]:
    """Findings of one Chinese sentence in order, also the denied and hedged ones.

    A mention without a term of its own (term "") holds what a sentence such as 增强扫描呈环形强化 adds to the lesion
    of the sentence before. Offsets of quotes are those of `text`.
    """
    plain, places = readable(text)
    reader = _SentenceReader(plain)
    for clause in _clauses(find_marks(plain), len(plain)):
        reader.read(clause)
    for mention in reader.mentions:
        first, stop = mention.quote
        mention.quote = (places[first], places[stop - 1] + 1) if stop > first else (0, 0)
    return reader.mentions


def _clauses(marks: list[Mark], length: int) -> Iterator[_Clause]:
    """Parts between punctuation and words such as 但, without what tells history or advice."""
    cuts = [m for m in marks if m.kind in ("stop", "boundary")]
    edges = [Mark("stop", "", 0, 0), *cuts, Mark("stop", "", length, length)]
    position = 0
    for before, after in pairwise(edges):
        inside = []
        while position < len(marks) and marks[position].first < after.first:
            if marks[position].first >= before.stop:
                inside.append(marks[position])
            position += 1
        for mark in inside:
            if mark.kind == "history":
                inside = [m for m in inside if m.first >= mark.stop]
            elif mark.kind == "advice":
                inside = [m for m in inside if m.stop <= mark.first]
        if inside:
            yield _Clause(inside, before.stop, after.first, str(before.value), str(after.value))


class _SentenceReader:
    """Reads the clauses of one sentence in order and keeps what a later clause may speak of."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.mentions: list[Mention] = []
        self.lesions: list[Mention] = []  # spoken of last: what a clause without a finding adds to
        self.bearers: list[Mention] = []  # the last of them that can have a signal
        self.places: list[Place] = []  # named last
        self.waiting_places: list[Place] = []
        self.waiting_sequences: list[Mark] = []
        self.latest: list[Mention] = []  # of the clause before
        self.latest_sequences: list[Mark] = []
        self.lead: list[Mark] = []  # an angiogram that the sentence is about
        self.waiting_hedge = ""
        self.is_compared = False

    def read(self, clause: _Clause) -> None:
        """Add one clause to the mentions."""
        if clause.of("comparison"):
            self.is_compared = True
        clause = _with_enhancing_nouns(clause)
        places = find_places(clause.marks, self.text)
        if places and not clause.of(*_FINDINGS, *_SIGNALS, "singled_out"):
            if self._locates(places, clause) or self._extends(places, clause):
                places = []
                clause = clause.with_marks([m for m in clause.marks if m.kind not in ("sites", "lobes", "laterality")])
        if self._only_leads_up(clause, places) or self._takes_sides(clause, places):
            return
        items = self._items(clause, places)
        self._hedge(clause, items)
        for i, item in enumerate(items):
            self._mention(item, [j for j in items[:i] if j.mark.first < item.mark.first], clause)
        self._attach(clause, items)
        for item in items:
            self._finish(item)
        if items and (verbs := clause.of("extension")):
            self._extends([p for p in places if p.first >= verbs[0].stop and p not in items[-1].places], clause)
        self.latest = [mention for item in items for mention in item.mentions] or self.latest
        self.waiting_places, self.waiting_sequences, self.waiting_hedge = [], [], ""

    def _only_leads_up(self, clause: _Clause, places: list[Place]) -> bool:
        """Whether a clause holds only sites, sequences or a hedge for the next one; then they are kept."""
        told = clause.of(*_FINDINGS, *_SIGNALS, *_ATTRIBUTES, "level", "anaphora", "singled_out")
        if told:
            return False
        if places and clause.stop - places[-1].stop <= 1 and self._unread(clause) <= 1:
            self.waiting_places += places
            self.waiting_sequences += clause.of("sequences")
            return True
        cues = clause.of("certainty")
        if cues and not places:
            is_alone = cues[0].first - clause.start <= 1 and clause.stop - cues[-1].stop <= 1
            told = [m for m in self.latest if m.certainty == "present" and m.term != "normal"]
            if clause.closer == ":" or (not told and cues[-1].value != "absent"):
                self.waiting_hedge = str(cues[-1].value)
            elif is_alone:  # "haemorrhage: none", "metastasis (possible)"
                for mention in told:
                    mention.certainty = str(cues[-1].value)
            return True
        if clause.of("sequences") and not self.is_compared:
            self.waiting_sequences += clause.of("sequences")
            return True
        return False

    def _takes_sides(self, clause: _Clause, places: list[Place]) -> bool:
        """Give a side that stands alone, as in 额叶(左侧), to the site before it."""
        sides = {str(m.value) for m in clause.of("laterality")}
        if len(sides) != 1 or places or clause.of(*_FINDINGS, *_SIGNALS):
            return False
        side = sides.pop()
        if self.waiting_places:
            self.waiting_places = [_with_side(p, side, clause) for p in self.waiting_places]
        paired = load_terms().sites
        for mention in self.lesions if not self.waiting_places else ():
            is_next = clause.opener == "(" and mention.quote[1] >= clause.start - 1 and len(mention.sites) == 1
            mention.sites = [
                (s, side if d == "none" and (is_next or paired[s].paired) else d) for s, d in mention.sites
            ]
            mention.side = side if not mention.sites and mention.side == "none" else mention.side
        return not clause.of(*_ATTRIBUTES, "sequences", "certainty", "singled_out")

    def _locates(self, places: list[Place], clause: _Clause) -> bool:
        """Give the places of a clause without a finding to the lesion before it that has none: "a mass, in the left ..."."""
        if self._unread(clause) > 1:
            return False
        unplaced = [m for m in self.lesions if m.term and not m.sites and not m.is_back_reference and m.certainty != "absent"]
        for mention in unplaced:
            placed = self._placed(_Item(Mark("findings", mention.term, mention.first, mention.stop), mention.term, places))
            mention.sites = list(dict.fromkeys(p.key for p in placed))
            mention.quote = (mention.quote[0], max(mention.quote[1], places[-1].stop))
        return bool(unplaced)

    def _extends(self, places: list[Place], clause: _Clause) -> bool:
        """Make a finding of what a lesion of this sentence reaches; a tumour is a mass there."""
        lesions = [m for m in self.bearers if m.term and m.certainty != "absent"]
        verbs = clause.of("extension")
        is_denied = any(m.value == "absent" for m in clause.of("certainty"))
        is_invaded = any("侵" in str(m.value) for m in verbs)
        if not places or not verbs or (is_denied and not is_invaded) or not (lesions or is_invaded):
            return bool(verbs)
        term = "mass" if is_invaded or load_terms().findings[lesions[-1].term].family == "tumor" else lesions[-1].term
        certainty = "absent" if is_denied else "present"
        reached = Mention(term, clause.marks[0].first, clause.marks[-1].stop, certainty)
        reached.sites = list(dict.fromkeys(p.key for p in places))
        reached.quote = (places[0].first, max(places[-1].stop, verbs[-1].stop))
        self.mentions.append(reached)
        return True

    def _unread(self, clause: _Clause) -> int:
        """How many characters of a clause no mark covers, those that join the items of a list not counted."""
        covered = {i for m in clause.marks for i in range(m.first, m.stop)}
        return sum(self.text[i] not in _JOINERS for i in range(clause.start, clause.stop) if i not in covered)

    def _items(self, clause: _Clause, places: list[Place]) -> list[_Item]:
        """The findings of a clause with the places that each is said of."""
        marks = _without_repeated_nouns(clause)
        own = {m.first: str(m.value) for m in clause.of("own_site")}
        items: list[_Item] = []
        taken = self.waiting_places
        start = clause.start
        for mark in marks:
            if self._tells_change(mark, items, places, clause):
                continue
            ahead = [p for p in places if start <= p.first < mark.first]
            here = taken + ahead
            if mark.first in own and (not here or own[mark.first] != "brain"):
                here = [Place(own[mark.first], "none", mark.first, mark.stop)]
            elif not here and items and items[-1].places and mark.first not in own:
                here = items[-1].places
            taken = []
            for term, at in self._resolve(mark, here, clause):
                items.append(_Item(mark, term, at))
            start = mark.stop
        behind = [p for p in places if p.first >= start]
        is_located = items and (items[-1].mark.kind == "predicates" or clause.of("locates", "extension"))
        if is_located and behind and not items[-1].places and items[-1].term not in _KEEPS_ITS_SITE:
            last = items.pop()
            items += [_Item(last.mark, term, at) for term, at in self._resolve(last.mark, behind, clause)]
        if all(i.term in _WITHOUT_SIGNAL for i in items):
            signal = self._bare_signal(clause, places, items)
            if signal is not None:
                items.append(signal)
        if places:
            self.places = places
        return items

    def _tells_change(self, mark: Mark, items: list[_Item], places: list[Place], clause: _Clause) -> bool:
        """Whether a word such as 增大 says how a lesion has changed, and is no finding."""
        if mark.kind != "predicates" or not self.is_compared or not trend_of(self.text[mark.first : mark.stop]):
            return False
        return bool(items) or (not places and bool(clause.of("comparison")))

    def _resolve(self, mark: Mark, places: list[Place], clause: _Clause) -> Iterator[tuple[str, list[Place]]]:
        """The terms of a finding, each with its places: a predicate names another finding at another site."""
        if not isinstance(mark.value, Predicate):
            term = str(mark.value)
            if term == "normal":
                places = places or self.places
                if not places and mark.kind != "clear" and clause.start:
                    return
            yield term, places
            return
        predicate = mark.value
        at = places or (self.places if not self.lesions else [])
        found: dict[str, list[Place]] = {}
        if not places and mark.first and len(at) > 2:  # a long list is not meant again one by one
            at = []
        for place in at:
            if (term_here := predicate.term_at(place.site)) is not None:
                found.setdefault(term_here, []).append(place)
        if not at and "any" in predicate.terms and predicate.terms["any"] != "normal":
            found[predicate.terms["any"]] = []
        yield from found.items()

    def _bare_signal(self, clause: _Clause, places: list[Place], items: list[_Item]) -> _Item | None:
        """A signal abnormality where a clause tells a signal and nothing that has it."""
        signals = clause.of(*_SIGNALS)
        if not signals:
            levels = clause.of("level")
            signals = levels if clause.of("sequences") else [m for m in levels if self.text.startswith("信号", m.first)]
        signals = [m for m in signals if not items or m.first >= items[-1].mark.stop]
        if not signals or any(m.value == "anaphora" for m in clause.marks) or clause.of("anaphora", "singled_out"):
            return None
        here = self.waiting_places + [p for p in places if p.first < signals[-1].first]
        if items and items[-1].term != "normal":
            here = [p for p in here if p.first >= items[-1].mark.stop] or items[-1].places
        is_denied = any(m.value == "absent" and m.first < signals[-1].first for m in clause.of("certainty"))
        if not here and not is_denied and (self.bearers or not (self.lesions or clause.of("exists"))):
            return None
        if items and not here:
            return None
        mark = Mark("findings", "signal abnormality", signals[-1].first, signals[-1].stop)
        return _Item(mark, "signal abnormality", here)

    def _hedge(self, clause: _Clause, items: list[_Item]) -> None:
        """Set the certainty of the findings of a clause from the cues before and behind them."""
        cues = clause.of("certainty")
        for item in items:
            if isinstance(item.mark.value, Predicate) and item.mark.value.is_denial and item.term != "normal":
                item.certainty = "absent"
                continue
            item.certainty = self._cue_before(item, items, cues, clause) or "present"
        for cue in cues:
            governed = [i for i in items if i.mark.stop <= cue.first]
            if not governed or not self._stands_behind(cue, items, clause):
                continue
            last = governed[-1]
            reached = [i for i in governed if i is last or _is_list(self.text[i.mark.stop : last.mark.first])]
            for item in reached:
                if item.certainty == "present" and item.term != "normal":
                    item.certainty = str(cue.value)
        if clause.closer == "?":
            for item in items:
                if item.certainty == "present" and load_terms().findings[item.term].kind == "diagnosis":
                    item.certainty = "possible"

    def _cue_before(self, item: _Item, items: list[_Item], cues: list[Mark], clause: _Clause) -> str:
        ahead = [c for c in cues if c.stop <= item.mark.first and not self._stands_behind(c, items, clause)]
        if not ahead:
            return self.waiting_hedge if item.term != "normal" else ""
        cue = ahead[-1]
        if any(c.value == "absent" for c in ahead) and cue.value != "absent" and "除外" not in self.text[cue.first : cue.stop]:
            cue = next(c for c in reversed(ahead) if c.value == "absent")  # "no sign that suggests" denies
        since = [m for m in clause.of("exists") if cue.stop <= m.first < item.mark.first]
        if item.term == "normal" and cue.value != "absent":
            return ""
        if item.term == "normal":
            return "present"
        return "" if since else str(cue.value)

    def _stands_behind(self, cue: Mark, items: list[_Item], clause: _Clause) -> bool:
        """Whether a cue speaks of the finding before it: nothing follows it, or it is a word such as 待排."""
        word = self.text[cue.first : cue.stop]
        follows = any(i.mark.first >= cue.stop for i in items)
        if cue.value == "absent":
            return word == "不明显" or (not follows and cue.stop >= clause.stop - 1)
        if not follows:
            return True
        return word.startswith(_BEHIND) and any(i.mark.stop == cue.first for i in items) and not word.endswith(("为", "是", "系"))

    def _mention(self, item: _Item, before: list[_Item], clause: _Clause) -> None:
        """Make the mention of a finding, or find the one that it only speaks of again."""
        if earlier := self._spoken_of(item, before, clause):
            item.mentions = earlier
            _covering(item, item.mark)
            return
        mention = Mention(item.term, item.mark.first, item.mark.stop, certainty=item.certainty)
        places = self._placed(item)
        mention.sites = list(dict.fromkeys(p.key for p in places))
        if len(mention.sites) > 1:
            mention.sites = [s for s in mention.sites if s[0] != "brain"] or mention.sites[:1]
        start = max([clause.start, *(i.mark.stop for i in before)])
        first = min(m.first for m in (*clause.marks, item.mark) if m.kind in _QUOTED and m.first >= start)
        mention.quote = (first, max(item.mark.stop, *(p.stop for p in places if p.stop <= clause.stop), 0))
        mention.is_back_reference = bool(clause.of("back_reference", "operated")) or self._stays(item)
        mention.is_apart = bool(clause.of("operated"))
        mention.is_definite = self._is_anaphor(item, clause)
        self._set_side(mention, item, clause)
        self._take_over(mention, item)
        item.mentions = [mention]
        self.mentions.append(mention)

    def _spoken_of(self, item: _Item, before: list[_Item], clause: _Clause) -> list[Mention]:
        """The mentions of this sentence that a finding only adds to: 病灶边界清楚, or a diagnosis of what is described."""
        if item.certainty == "absent":
            return []
        own = item.places
        if item.term in AS_SIGNAL and not clause.of("operated"):
            told = [i.mentions for i in before if i.term not in _WITHOUT_SIGNAL and i.certainty != "absent"]
            showing = told[-1] if told else [] if own else self.bearers
            for mention in showing:
                mention.signals = {s for s in mention.signals if s != ("DWI", "none")} | {AS_SIGNAL[item.term]}
            if showing:
                return showing
        if not self.lesions:
            return []
        if not own and self._is_anaphor(item, clause):
            return self.lesions
        terms = load_terms().findings
        same = [m for m in self.mentions if m.term == item.term and m.certainty != "absent"]
        if same and item.certainty != "present" and not own and self.lesions[-1].sites in ([], [("brain", "none")], same[-1].sites):
            return same
        described = [m for m in self.lesions if m.certainty == "present" and terms[m.term].kind == "description"] if self.lesions[0].term else []
        is_linked = clause.opener == "(" or any(m.first < item.mark.first for m in clause.of("consistent"))
        if item.certainty == "present" and terms[item.term].kind == "diagnosis" and described and not own and is_linked:
            for mention in described:
                mention.term = item.term
            return described
        return []

    def _is_anaphor(self, item: _Item, clause: _Clause) -> bool:
        if item.term not in ("signal abnormality", "mass", "cyst", "hemorrhage") or item.certainty != "present":
            return False
        if not any(m.first == item.mark.first for m in clause.of("anaphora")):
            return False
        introduced = [m for m in clause.of("exists", "count") if m.first < item.mark.first and m.value not in _SHOWS]
        return not introduced

    def _stays(self, item: _Item) -> bool:
        """Whether a finding without a place of its own is where the lesion before it in the sentence is."""
        if not self.lesions or item.places or item.term in _KEEPS_ITS_SITE:
            return False
        if item.certainty == "absent":
            return item.term in (*ACCOMPANYING, "mass", "signal abnormality")
        default = load_terms().findings[item.term].default_site
        if item.term in ("abnormal vessels", "vessel tortuosity"):
            return any(m.sites for m in self.lesions)
        return default == "brain" or ((item.certainty != "present" or default == "vessels") and self._is_near(default))

    def _is_near(self, site: str) -> bool:
        """Whether the lesion spoken of stands at, in or around a site."""
        within = load_terms().is_within
        return any(within(s, site) or within(site, s) for m in self.lesions for s, _ in m.sites if s != "brain")

    def _placed(self, item: _Item) -> list[Place]:
        """The places that a term can have: a meningioma is dural, a midline shift has none but its direction."""
        terms = load_terms()
        if item.term in ("midline shift", "hydrocephalus", "herniation"):
            return []
        if item.term == "meningioma":
            return [
                Place("meninges", p.side, p.first, p.stop) if terms.is_within(p.site, "cerebral hemisphere") or p.site == "brain" else p
                for p in item.places
            ]
        return item.places

    def _set_side(self, mention: Mention, item: _Item, clause: _Clause) -> None:
        if item.term == "midline shift":
            sides = [m.value for m in clause.of("laterality") if m.value in ("left", "right")]
            mention.side = sides[-1] if sides and item.certainty != "absent" else "none"
        elif not mention.sites and (sides := self._sides_before(item, clause)):
            mention.side = str(sides[-1])
        elif not mention.sites and not mention.is_back_reference and self._is_sided_like_the_lesion(item):
            sides = {side for m in self.lesions for _, side in m.sites}
            mention.side = sides.pop() if len(sides) == 1 else "none"

    def _sides_before(self, item: _Item, clause: _Clause) -> list[object]:
        terms = load_terms()
        is_paired = terms.sites[terms.findings[item.term].default_site].paired
        return [m.value for m in clause.of("laterality") if is_paired and m.stop <= item.mark.first]

    def _take_over(self, mention: Mention, item: _Item) -> None:
        """A hedged diagnosis counts and measures what the same sentence describes."""
        described = [m for m in self.lesions if load_terms().findings[m.term or "normal"].kind == "description"]
        if item.certainty in ("probable", "possible") and described and not item.places:
            mention.count, mention.size_mm = described[-1].count, described[-1].size_mm
            mention.morphology |= described[-1].morphology

    def _is_sided_like_the_lesion(self, item: _Item) -> bool:
        terms = load_terms()
        site = terms.findings[item.term].default_site
        return item.certainty != "absent" and terms.sites[site].paired and site not in ("vessels", *_VAGUE_SITES)

    def _attach(self, clause: _Clause, items: list[_Item]) -> None:
        """Hand signals and attributes of a clause to its findings, or to the lesion that the sentence is about."""
        if clause.of("singled_out"):
            self._single_out(clause, items)
        lesions = [i for i in items if i.term != "normal"]
        sequences = self.waiting_sequences + clause.of("sequences")
        if not sequences and clause.of(*_SIGNALS) and _OF_A_PART.match(self.text, clause.start):
            sequences = self.latest_sequences
        self.latest_sequences = sequences or self.latest_sequences
        add_signals(clause.marks, sequences, lambda mark: self._owner(mark, lesions, clause).mentions, self.text)
        for mark in clause.of(*_ATTRIBUTES):
            owner = self._owner(mark, lesions, clause)
            for mention in owner.mentions if mark.kind != "count" or owner.term not in AS_SIGNAL else ():
                add_attribute(mention, owner.term, mark, self.text, clause.start)
        if self.is_compared and not clause.of("change") and (trend := trend_of(self.text[clause.start : clause.stop])):
            mark = Mark("change", trend, clause.stop, clause.stop)
            for mention in self._owner(mark, lesions, clause).mentions:
                add_attribute(mention, mention.term, mark, self.text, clause.start)
        self._lead_on(clause, items, sequences)

    def _owner(self, mark: Mark, items: list[_Item], clause: _Clause) -> _Item:
        """The finding of the clause that a word leads up to, else the last one before it, else the lesion spoken of."""
        is_signal = mark.kind in (*_SIGNALS, "level", "sequences")
        able = [i for i in items if not (is_signal and i.term in _WITHOUT_SIGNAL)]
        if mark.kind == "sequences":
            able = [i for i in able if i.term in AS_SIGNAL] or able
        for item in able:
            if item.mark.stop > mark.first:
                return _covering(item, mark)
        if able or (items and not is_signal):
            return _covering((able or items)[-1], mark)
        lesions = self.bearers if is_signal and self.bearers else self.lesions
        if not lesions:
            lesions = self._addition(mark, clause)
        return _covering(_Item(mark, lesions[-1].term if lesions else "", [], mentions=lesions), mark)

    def _addition(self, mark: Mark, clause: _Clause) -> list[Mention]:
        """A mention without a term for what a clause tells of the lesion of the sentence before; none if it may not."""
        if mark.kind in ("count", "severity", "acuity") or (mark.kind == "morphology" and mark.value not in _MARGINS):
            return []
        if find_places(clause.marks, self.text):
            return []
        self.lesions = self.bearers = [Mention("", mark.first, mark.stop, quote=(mark.first, mark.stop))]
        self.mentions += self.lesions
        return self.lesions

    def _single_out(self, clause: _Clause, items: list[_Item]) -> None:
        """ "The largest in the right occipital lobe" is an entry of its own, with the signals of the group."""
        places = find_places(clause.marks, self.text)
        if not places:
            return
        group = self.lesions[-1] if self.lesions else Mention("signal abnormality", 0, 0, is_definite=True)
        if not group.term:
            return
        start = places[0].first
        one = Mention(group.term, start, places[-1].stop, group.certainty, is_definite=group.is_definite, count=1)
        one.sites = list(dict.fromkeys(p.key for p in places))
        one.signals, one.morphology = set(group.signals), set(group.morphology)
        one.quote = (min(start, group.quote[0]) if self.lesions else start, places[-1].stop)
        self.mentions.append(one)
        self.lesions = self.bearers = [one]
        items[:] = [i for i in items if i.term == "normal"]

    def _lead_on(self, clause: _Clause, items: list[_Item], sequences: list[Mark]) -> None:
        """An angiogram named once is what all findings of the sentence are seen on."""
        self.lead += [m for m in sequences if m.value == "MRA"]
        for item in items:
            for mention in item.mentions if self.lead and not any(s == "MRA" for m in item.mentions for s, _ in m.signals) else ():
                mention.signals.add(("MRA", "none"))
            if item.term == "normal" and item.certainty != "absent":
                named = [m for m in sequences if clause.start <= m.first <= item.mark.first and m.value not in ("MRA", "T1c")]
                for mention in item.mentions:
                    mention.signals |= {(str(m.value), "none") for m in named}

    def _finish(self, item: _Item) -> None:
        """Terms that age and signal make, and what later clauses may add to."""
        for mention in item.mentions:
            mention.term = _AGED.get(mention.term, {}).get(mention.acuity, mention.term)
            if mention.term in _AGE_OF and mention.acuity == "none":
                mention.acuity = _AGE_OF[mention.term]
            if mention.term == "meningeal enhancement" and "强化" in self.text[item.mark.first : item.mark.stop]:
                mention.signals.add(("T1c", "enhancing"))
            if mention.term in AS_SIGNAL:
                mention.signals = {s for s in mention.signals if s[1] != "none"} or {AS_SIGNAL[mention.term]}
            if mention.certainty == "absent":
                mention.severity, mention.count = "none", "none"
            if "symmetric" in mention.morphology:
                paired = load_terms().sites
                mention.sites = [(s, "bilateral" if d == "none" and paired[s].paired else d) for s, d in mention.sites]
        is_lesion = item.certainty != "absent" and item.term not in ("normal", "normal variant", "artifact")
        goes_along = item.term in (*ACCOMPANYING, "midline shift", "meningeal enhancement") and not item.places
        if is_lesion and (not goes_along or any(m.is_apart for m in item.mentions)):
            self.lesions = item.mentions
            self.bearers = item.mentions if item.term not in _WITHOUT_SIGNAL else self.bearers


def _covering(item: _Item, mark: Mark) -> _Item:
    """The item, the quotes of its mentions drawn out over a word that belongs to them."""
    for mention in item.mentions if mark.stop > mark.first else ():
        mention.quote = (min(mention.quote[0], mark.first), max(mention.quote[1], mark.stop))
    return item


def _with_side(place: Place, side: str, clause: _Clause) -> Place:
    is_next = clause.opener == "(" and place.stop >= clause.start - 1
    return replace(place, side=side) if place.side == "none" and (is_next or load_terms().sites[place.site].paired) else place


def _with_enhancing_nouns(clause: _Clause) -> _Clause:
    """Read 明显强化结节 as a nodule that enhances, markedly."""
    nouns = {m.first for m in clause.of("findings")}
    words = {
        m.first: m.stop
        for m in clause.of("predicates")
        if m.stop in nouns and isinstance(m.value, Predicate) and m.value.terms.get("any") == "abnormal enhancement"
    }
    if not words:
        return clause
    marks = []
    for mark in clause.marks:
        if mark.kind == "predicates" and mark.first in words:
            mark = Mark("signal", ("enhancing",), mark.first, mark.stop)
        elif mark.kind == "severity" and mark.stop in words:
            mark = Mark("morphology", "mild" if mark.value == "mild" else "marked", mark.first, mark.stop)
        marks.append(mark)
    return clause.with_marks(marks)


def _first(mark: Mark) -> int:
    return mark.first


def _without_repeated_nouns(clause: _Clause) -> list[Mark]:
    """Findings of a clause; a noun that only repeats the one before it (出血灶, 脱髓鞘病灶) is left out."""
    kept: list[Mark] = []
    for mark in clause.of(*_FINDINGS):
        before = kept[-1] if kept else None
        if before is not None and before.stop == mark.first and mark.value == "signal abnormality" and before.value != "normal":
            kept[-1] = Mark(before.kind, before.value, before.first, mark.stop)
            continue
        is_next = before is not None and before.stop == mark.first
        if mark.value == "postoperative change" and is_next:
            kept.pop()
        if mark.value == "mass" and is_next and before is not None and before.kind == "findings":  # 胶质瘤复发
            continue
        kept.append(mark)
    return kept


def _is_list(text: str) -> bool:
    return any(mark in text for mark in "、或及和/") and len(text) < 16


