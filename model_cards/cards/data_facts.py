"""The data statement of a card: counts of a studies table in words."""

from collections.abc import Mapping
from typing import Any

LANGUAGE_NAMES = {"en": "English", "zh": "Chinese"}


def data_rows(statement: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of what is known of the data; what was not counted is said to be unknown.

    Args:
        statement: Counts, as `selip.processing.sources.data_statement` makes them.
    """
    kind = "simulated studies" if statement["simulated"] else "studies"
    rows = [
        ("studies", f"{statement['studies']} {kind} of {statement['patients']} patients"),
        ("series by sequence", f"{_counts(statement['sequences'])}; {statement['series']} in all"),
        ("languages of the reports", _counts(_named(statement["languages"]))),
    ]
    if len(statement.get("splits", {})) > 1:
        rows.append(("studies by split (a patient is in one only)", _counts(statement["splits"])))
    strengths = {f"{name} T": count for name, count in statement.get("field_strengths_t", {}).items()}
    scanners = [_counts(each) for each in (statement.get("makers", {}), strengths) if each]
    # a run leaves out studies without a text, and nothing is kept of which
    counted = max(sum(each.values()) for each in (statement.get("makers", {}), strengths))
    of_split = " of the training split, of which the run used a part" if counted > statement["studies"] else ""
    rows.append((f"scanners, in studies{of_split}", "; ".join(scanners) or "not known"))
    read = statement.get("with_findings")
    if read:
        normal = statement["normal"]
        rows.append(("normal", f"{normal} of {read} studies with findings ({100 * normal / read:.1f} %)"))
        readers = ", ".join(f"{name} ({count})" for name, count in statement["structurers"].items())
        rows.append(("findings read by (studies)", readers or "not known"))
        fallbacks = statement["fallbacks"]
        rows.append(("read by another structurer than was asked", f"{fallbacks} ({100 * fallbacks / read:.1f} %)"))
    else:
        rows.append(("normal", "not counted"))
    rows.append(("fingerprint of the studies table", f"`{statement['fingerprint'][:16]}`"))
    return rows


def _named(languages: Mapping[str, int]) -> dict[str, int]:
    return {LANGUAGE_NAMES.get(code, code or "unknown"): count for code, count in languages.items()}


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
