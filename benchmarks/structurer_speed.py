"""Reports a second of the rule structurer on one core, beside what finding its words alone takes.

    python benchmarks/structurer_speed.py [--reports 400] [--repeats 5] [--gold ../shared/data/reports/gold_zh.jsonl]

Texts are those of the simulator's training writers and, where named, of gold files. Times are processor time, medians
over the repeats, each text set in turn within a repeat. The yardstick is one plain alternation over the words of the
lexicon, run over the same texts: what a reader without a trie pays for its words before it has understood anything.
"""

import argparse
import re
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from selip.processing.annotation.gold import read_gold
from selip.processing.rules.structurer import READERS, structure_report
from selip.processing.structurer import ReportText
from selip.processing.vocabulary import load_lexicon
from selip.training.structuring.pseudo_reports import iter_pseudo_reports


def word_pattern(language: str) -> re.Pattern[str]:
    """Every word of a lexicon in one alternation, longest first."""
    lexicon = load_lexicon(language)
    words = {word for rows in lexicon.words.values() for said in rows.values() for word in said}
    words |= {name for rows in lexicon.names.values() for name in rows.values()} - {""}
    return re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))), re.IGNORECASE)


def find_words(pattern: re.Pattern[str], text: ReportText) -> list[str]:
    """The words of a lexicon in a report."""
    return pattern.findall(f"{text.findings}\n{text.impression}")


def seconds_of(work: Callable[[ReportText], object], texts: list[ReportText]) -> float:
    """Processor time of one pass."""
    start = time.process_time()
    for text in texts:
        work(text)
    return time.process_time() - start


def text_sets(reports: int, gold: list[Path]) -> dict[tuple[str, str], list[ReportText]]:
    """Texts by source and language."""
    sets: dict[tuple[str, str], list[ReportText]] = {}
    for language in READERS:
        made = iter_pseudo_reports(reports, seed=0, language=language, writer="training")
        sets["simulated", language] = [report.text for report in made]
    for path in gold:
        for report in read_gold(path):
            sets.setdefault((path.stem, report.text.language), []).append(report.text)
    return sets


def main() -> None:
    """Print one line a text set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--gold", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    sets = text_sets(options.reports, options.gold)
    patterns = {language: word_pattern(language) for language in READERS}
    rules: dict[tuple[str, str], list[float]] = {name: [] for name in sets}
    words: dict[tuple[str, str], list[float]] = {name: [] for name in sets}
    for texts in sets.values():
        structure_report(*texts[0])  # lexicons are read once
    for _ in range(options.repeats):
        for name, texts in sets.items():
            rules[name].append(seconds_of(lambda text: structure_report(*text), texts))
            words[name].append(seconds_of(partial(find_words, patterns[name[1]]), texts))
    print("texts | language | reports | characters | reports/s | seconds of the plain alternation / of the rules")
    for name, texts in sets.items():
        length = statistics.mean(len(text.findings) + len(text.impression) for text in texts)
        ratio = statistics.median(w / r for w, r in zip(words[name], rules[name], strict=True))
        rate = len(texts) / statistics.median(rules[name])
        print(f"{name[0]} | {name[1]} | {len(texts)} | {length:.0f} | {rate:,.0f} | {ratio:.2f}")


if __name__ == "__main__":
    main()
