"""How long does the similarity of a whole data set take, how much memory, and how much faster is it than nested loops?

    python benchmarks/similarity_matrix.py                  # 17,529 texts, the training pairs of the SeLIP paper
    python benchmarks/similarity_matrix.py --texts 4000 --language en --json similarity_matrix.json

Texts are rendered from random findings: terms, sites, sides and words of the lexicon with frequencies that fall as
1/rank^1.5, 1 to 5 findings a study. The matrix is made block by block and each block is thrown away. The reference is
plain Python: one pair of texts after the other, one pair of clauses or findings after the other, nothing kept from one
pair to the next. It is timed on random pairs of texts and scaled to all entries of the matrix; there both must agree.
The ratio is one of processor times, which say the same on a busy machine. Each metric has a process of its own,
because the peak memory of a process only grows.
"""

import argparse
import itertools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from selip.processing.assignment_similarity import assignment_blocks, measure_statistics
from selip.processing.corpus_statistics import CorpusStatistics
from selip.processing.findings import Finding, StructuredReport
from selip.processing.rendering import Clause, Language, TextItem, series_text
from selip.processing.similarity import SIGNAL_TAGS, released_blocks
from selip.processing.statements import Statement
from selip.processing.vocabulary import load_terms

SEQUENCES = ("T1w", "T2w", "FLAIR", "DWI", "ADC")
SIGNALS = ("hyper", "hypo", "iso", "mixed")
NUM_FINDINGS = (0.45, 0.27, 0.15, 0.08, 0.05)  # share of studies with 1, 2, ... 5 findings
METRICS = ("released", "assignment")
Blocks = Iterator[tuple[slice, npt.NDArray[np.float32]]]
Pair = Callable[[TextItem, TextItem], float]


def draw_texts(count: int, language: Language, seed: int) -> list[list[TextItem]]:
    """Texts of random studies until there are `count`, by study; two sequences of a study on average."""
    generator = np.random.default_rng(seed)
    studies: list[list[TextItem]] = []
    missing = count
    while missing > 0:
        findings = [draw_finding(generator) for _ in range(1 + generator.choice(5, p=NUM_FINDINGS))]
        report = StructuredReport(normal=False, findings=findings)
        shown = generator.permutation(SEQUENCES)[: generator.integers(1, 4)]
        texts = [series_text(report, str(sequence), language, unnamed="copy-all") for sequence in shown]
        studies.append([text for text in texts if text is not None][:missing])
        missing -= len(studies[-1])
    return studies


def draw_finding(generator: np.random.Generator) -> Finding:
    """A finding of the lexicon; frequencies fall as 1/rank^1.5 in an order that is the same for all."""
    terms = load_terms()
    names = [name for name, term in terms.findings.items() if term.kind != "status"]
    site = pick(list(terms.sites), generator)
    return Finding.model_validate(
        {
            "finding": pick(names, generator),
            "site": site,
            "laterality": generator.choice(["left", "right", "bilateral"]) if terms.sites[site].paired else "none",
            "signals": [
                {"sequence": sequence, "signal": pick(SIGNALS, generator)}
                for sequence in SEQUENCES
                if generator.random() < 0.3
            ],
            "morphology": [pick(terms.morphology, generator)] if generator.random() < 0.2 else [],
            "certainty": pick(["absent", "possible"], generator) if generator.random() < 0.2 else "present",
        }
    )


def pick(choices: Sequence[str], generator: np.random.Generator) -> str:
    """One of the choices, the k-th (in an order of their own) with a chance of 1/k^1.5."""
    weights = np.arange(1, len(choices) + 1) ** -1.5
    order = np.random.default_rng(len(choices)).permutation(len(choices))
    return choices[order[generator.choice(len(choices), p=weights / weights.sum())]]


def released_pair(one: TextItem, other: TextItem, language: Language) -> float:
    """The released similarity of two texts by its formula."""

    def tag(description: str) -> str:
        return next((name for name in SIGNAL_TAGS[language] if name in description), description)

    def marks(clause: Clause) -> set[str]:
        if language == "zh":
            return set(clause.location + clause.description)
        return set(f"{clause.location} {clause.description}".replace("-", " ").split())

    total = 0.0
    for a in one.clauses:
        for b in other.clauses:
            semantic = 0.5 * (a.location == b.location) + 0.5 * (tag(a.description) == tag(b.description))
            left, right = marks(a), marks(b)
            total += semantic * 2 * len(left & right) / (len(left) + len(right))
    return min(1.0, total / (len(one.clauses) * len(other.clauses)))


def assignment_pair(one: TextItem, other: TextItem, corpus: CorpusStatistics) -> float:
    """The recommended similarity of two texts by its formula, trying every assignment."""
    few, many = ([said for said in text.statements if not said.is_denied] for text in (one, other))
    if len(few) > len(many):
        few, many = many, few
    worth = [[(corpus.weight(a) + corpus.weight(b)) * agreement_of(a, b) for b in many] for a in few]
    matched = max(
        sum(row[place] for row, place in zip(worth, places, strict=True))
        for places in itertools.permutations(range(len(many)), len(few))
    )
    total = 0.0
    for text, against in ((one, other), (other, one)):
        for said in text.statements:
            if not said.is_denied:
                total += corpus.weight(said)
                if any(denial.contradicts(said) for denial in against.statements):
                    matched -= corpus.weight(said)
    return max(0.0, (max(0.0, matched) / total - corpus.chance) / (1 - corpus.chance))


def agreement_of(a: Statement, b: Statement) -> float:
    """Agreement of two statements of one finding each (docs/similarity.md)."""
    terms = load_terms()
    families = {terms.findings[a.term].family, terms.findings[b.term].family}
    if a.term == b.term:
        agreement = 1.0
    elif len(families) == 1:
        agreement = 0.5
    elif "unspecific" in families:
        agreement = 0.25
    else:
        return 0.0
    agreement *= 0.5 ** steps_between(a.site, b.site)
    if a.laterality != b.laterality:
        agreement *= 0.2 if {a.laterality, b.laterality} == {"left", "right"} else 0.6
    if a.sequence != b.sequence:
        agreement *= 0.5
    both = {sequence for sequence, _ in a.signals} & {sequence for sequence, _ in b.signals}
    if both:
        left, right = ({signal for signal in said.signals if signal[0] in both} for said in (a, b))
        agreement *= 0.5 + 0.5 * len(left & right) / len(left | right)
    elif a.signals or b.signals:
        agreement *= 0.9
    words = len(a.details) + len(b.details)
    return agreement * (0.9 + 0.1 * (2 * len(a.details & b.details) / words if words else 1.0))


def steps_between(one: str, other: str) -> float:
    """Steps from site to site in the site tree, infinite over a root."""
    sites = load_terms().sites
    paths = []
    for site in (one, other):
        path = [site]
        while (parent := sites[path[-1]].parent) is not None:
            path.append(parent)
        paths.append(path)
    common = next((site for site in paths[0] if site in paths[1]), None)
    if common is None or (sites[common].parent is None and common not in (one, other)):
        return float("inf")
    return paths[0].index(common) + paths[1].index(common)


def measure(metric: str, options: argparse.Namespace) -> dict[str, float | str]:
    """Time, memory and agreement with the reference of one metric, in this process."""
    studies = draw_texts(options.texts, options.language, options.seed)
    texts = [text for study in studies for text in study]
    corpus = measure_statistics(studies)

    def blocks() -> Blocks:
        return released_blocks(texts, options.language) if metric == "released" else assignment_blocks(texts, corpus)

    def pair(one: TextItem, other: TextItem) -> float:
        if metric == "released":
            return released_pair(one, other, options.language)
        return assignment_pair(one, other, corpus)

    generator = np.random.default_rng(options.seed)
    rows, columns = generator.integers(len(texts), size=(2, options.pairs))
    rows, columns = rows[rows != columns], columns[rows != columns]
    start = time.process_time()
    expected = np.array([pair(texts[i], texts[j]) for i, j in zip(rows, columns, strict=True)])
    reference_us = 1e6 * (time.process_time() - start) / len(rows)
    memory_before = peak_gb()
    walls, processors = [], []
    for _ in range(options.repeats):
        wall, processor = time.perf_counter(), time.process_time()
        found = np.full(len(rows), np.nan, dtype=np.float32)
        for part, block in blocks():
            here = np.flatnonzero((part.start <= rows) & (rows < part.stop))
            found[here] = block[rows[here] - part.start, columns[here]]
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    processor_seconds = statistics.median(processors)
    return {
        "metric": metric,
        "texts": len(texts),
        "different_texts": len({text.text for text in texts}),
        "clauses": len({clause for text in texts for clause in text.clauses}),
        "statements": len({said for text in texts for said in text.statements if not said.is_denied}),
        "seconds": statistics.median(walls),
        "processor_seconds": processor_seconds,
        "peak_gb": peak_gb(),
        "peak_gb_before": memory_before,
        "reference_us_per_pair": reference_us,
        "reference_hours": reference_us * len(texts) ** 2 / 3.6e9,
        "ratio": reference_us * len(texts) ** 2 / 1e6 / processor_seconds,
        "largest_difference": float(np.abs(found - expected).max()),
        "share_above_zero": float((expected > 0).mean()),
    }


def peak_gb() -> float:
    """Peak memory of this process so far, in GB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)


def main() -> None:
    """Measure each metric in a process of its own, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=17_529, help="texts of the data set")
    parser.add_argument("--language", choices=("en", "zh"), default="zh", help="language of the texts")
    parser.add_argument("--pairs", type=int, default=100_000, help="pairs that the reference is timed on")
    parser.add_argument("--repeats", type=int, default=3, help="times that the matrix is made; the median counts")
    parser.add_argument("--seed", type=int, default=0, help="seed of the texts and pairs")
    parser.add_argument("--json", type=Path, help="file for the result")
    parser.add_argument("--metric", choices=METRICS, help="measure this one in this process, and print JSON alone")
    options = parser.parse_args()
    if options.metric:
        print(json.dumps(measure(options.metric, options)))
        return
    results = []
    for metric in METRICS:
        command = [sys.executable, __file__, *sys.argv[1:], "--metric", metric]
        results.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))
    columns = ("seconds", "processor_seconds", "peak_gb", "reference_us_per_pair", "reference_hours", "ratio")
    print(f"{'':<12}" + "".join(f"{name:>24}" for name in columns))
    for result in results:
        print(f"{result['metric']:<12}" + "".join(f"{result[name]:>24.2f}" for name in columns))
    summary = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "results": results}
    print(json.dumps(summary))
    if options.json is not None:
        options.json.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
