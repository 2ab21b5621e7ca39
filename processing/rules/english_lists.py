"""Lists of an English sentence: marks that only commas, "and", articles, sides and the like part."""

from .matching import Token
from .mentions import Mark, Mention

# fmt: off
LOCATIVE = frozenset((
    "in", "of", "within", "involving", "at", "along", "to", "into", "over", "from", "on", "near", "about",
    "around", "throughout", "through", "affecting",
))
# fmt: on
# fmt: off
LIST_WORDS = frozenset((
    ",", "/", "and", "or", "&", "the", "lobe", "lobes", "region", "regions", "area", "areas", "of", "both", "to",
    "as", "well", "with", "aspect", "aspects", "including",
))
# fmt: on
# fmt: off
DIRECTIONS = frozenset((
    "anterior", "posterior", "superior", "inferior", "lateral", "medial", "superficial", "deep", "next", "close",
    "mesial", "middle", "upper", "lower", "anterolateral", "posterolateral", "dorsal", "ventral", "dorsolateral",
    "paramedian", "central", "mid",
))
# fmt: on
_COPULAS = frozenset(("is", "are", "was", "were", "appears", "appear", "remains", "remain"))


def grouped(sites: list[Mark], marks: list[Mark], tokens: list[Token]) -> list[list[Mark]]:
    """Site marks joined into lists: only commas, "and", articles, sides and the like stand between them."""
    if len(sites) < 2:
        return [[site] for site in sites]
    filler = {i for m in marks if m.kind in ("laterality", "severity") for i in range(m.first, m.stop)}
    findings = {m.first for m in marks if m.kind == "findings"}
    groups: list[list[Mark]] = []
    for site in sites:
        if groups:
            last = groups[-1][-1]
            between = range(last.stop, site.first)
            # "macroadenoma with suprasellar extension", "of the hemisphere with cortical restricted diffusion", not
            # "maxillary and sphenoid sinus disease"
            is_named = last.first in findings or (
                (site.first in findings or site.stop in findings) and any(tokens[i].word == "with" for i in between)
            )
            is_subject = _opens_clause(last.stop, site, tokens)
            if (
                not is_named
                and not is_subject
                and all(i in filler or tokens[i].word in LIST_WORDS or tokens[i].word in DIRECTIONS for i in between)
            ):
                groups[-1].append(site)
                continue
        groups.append([site])
    return groups


def _opens_clause(start: int, site: Mark, tokens: list[Token]) -> bool:
    """Whether a site is the subject of a clause of its own: "fluid in the mastoid, and the sinuses are clear"."""
    if tokens[start].word != ",":
        return False
    words = [t.word for t in tokens[start : site.first]]
    behind = tokens[site.stop].word if site.stop < len(tokens) else "."
    return words[:2] == [",", "and"] and "the" in words and behind in _COPULAS and not _has_copula(tokens, start)


def _has_copula(tokens: list[Token], stop: int) -> bool:
    return not _COPULAS.isdisjoint(t.word for t in tokens[:stop])


def owner_of(mark: Mark, tokens: list[Token], carriers: list[Mention]) -> Mention | None:
    """The finding that a word belongs to: the next one if it leads up to it, else the one before, else the next."""
    left = [m for m in carriers if m.first <= mark.first]
    right = [m for m in carriers if m.first > mark.first]
    if right:
        words = {t.word for t in tokens[mark.stop : right[0].first]}
        leads = (
            not words & {",", "with", "and", "without"} and right[0].first - mark.stop <= 5 and not words & LOCATIVE
        )
        if leads or not left:
            return right[0]
    return left[-1] if left else None
