"""The licence of weights is the strictest of their data, and data without known terms is refused."""

from datetime import date

import pytest

from selip.model_cards.cards.terms import (
    dataset_terms,
    inherited_licence,
    known_datasets,
    licence_terms,
    not_to_be_shown,
)

# Data sets, what was declared, the licence: worked out by hand from the deeds of the licences.
COMBINED = [
    (["simulated"], {}, "apache-2.0"),
    (["openneuro"], {}, "apache-2.0"),
    (["openneuro", "upenn-gbm"], {}, "cc-by-4.0"),
    (["IXI"], {}, "cc-by-sa-3.0"),
    (["ixi", "isles22"], {}, "cc-by-sa-4.0"),
    (["isles22", "ixi", "open_ms_data", "simulated"], {}, "cc-by-sa-4.0"),
    (["MR-RATE"], {}, "cc-by-nc-sa-4.0"),
    (["Forithmus/MR-RATE", "upenn-gbm"], {}, "cc-by-nc-sa-4.0"),
    (["hospital"], {"hospital": "cc-by-nc-4.0"}, "cc-by-nc-4.0"),
    (["hospital", "mr-rate"], {"hospital": "cc-by-nc-3.0"}, "cc-by-nc-sa-4.0"),
    (["hospital", "openneuro"], {"Hospital": "mit"}, "apache-2.0"),
    (["adni"], {"adni": "cc-by-nc-4.0"}, "cc-by-nc-4.0"),
    (["brats_2021", "openneuro"], {"brats-2021": "cc-by-4.0"}, "cc-by-4.0"),
]


@pytest.mark.parametrize(("names", "declared", "licence"), COMBINED)
def test_weights_take_the_strictest_licence_of_their_data(
    names: list[str], declared: dict[str, str], licence: str
) -> None:
    """Of any data sets, in any order; what one of them forbids stays forbidden."""
    found = inherited_licence(names, declared)
    assert found.licence == licence
    assert found == inherited_licence(names, declared)
    assert inherited_licence(names[::-1], declared).licence == licence
    assert found.non_commercial == ("nc" in licence)
    assert (found.licence_name, found.licence_link) == (None, None)
    assert len(found.attributions) == len(names)


@pytest.mark.parametrize(
    ("names", "declared", "message"),
    [
        ([], {}, "got none"),
        (["hospital"], {}, "unknown data set 'hospital'"),
        (["adni"], {}, r"adni: .* read https://ida\.loni\.usc\.edu"),
        (["hospital"], {"hospital": "cc-by-nc"}, "unknown licence 'cc-by-nc'"),
        (["ixi"], {"ixi": "mit"}, r"ixi: declared mit, but its terms say cc-by-sa-3\.0"),
        (["ixi", "mr-rate"], {}, r"cc-by-nc-sa-4\.0 and cc-by-sa-3\.0 cannot be combined"),
        (["ixi", "hospital"], {"hospital": "odbl"}, r"cc-by-sa-3\.0 and odbl cannot be combined"),
        (["ixi", "hospital"], {"hospital": "cc-by-nc-4.0"}, "non-commercial licence cannot be combined"),
        (["a", "b"], {"a": "x=https://a", "b": "y=https://b"}, "x and y cannot be combined"),
        (["a", "ixi"], {"a": "x=https://a"}, r"cc-by-sa-3\.0 and x cannot be combined"),
        (["a"], {"a": "x="}, "expected a Hub id or NAME=URL"),
        (["a"], {"a": "cc-by-nd-4.0"}, "allows no derived works"),
        (["simulated"], {"a": "mit"}, "got one of a"),
    ],
)
def test_what_cannot_be_published_is_refused_with_the_reason(
    names: list[str], declared: dict[str, str], message: str
) -> None:
    """Unknown or undeclared terms and licences that contradict one another give an error that names both."""
    with pytest.raises(ValueError, match=message):
        inherited_licence(names, declared)


def test_agreements_of_a_group_keep_their_name_and_are_gated() -> None:
    """A licence that the Hub does not know goes out as `other` with name and link, and nothing of it is shown."""
    found = inherited_licence(["our-hospital", "upenn-gbm"], {"our-hospital": "Agreement 7=https://example.org/terms"})
    assert (found.licence, found.licence_name, found.licence_link) == (
        "other",
        "Agreement 7",
        "https://example.org/terms",
    )
    assert found.gated
    assert found.datasets == ("our-hospital", "upenn-gbm")


def test_gated_data_stays_gated_whatever_is_declared() -> None:
    """A declared licence speaks of the weights, never of showing images or texts."""
    assert inherited_licence(["adni"], {"adni": "mit"}).gated
    assert inherited_licence(["mr-rate", "openneuro"]).gated
    assert inherited_licence(["our-hospital"], {"our-hospital": "cc-by-4.0"}).gated
    assert not inherited_licence(["openneuro", "simulated"]).gated


def test_every_row_names_terms_source_and_day() -> None:
    """A row without a source is a rumour; a licence that the table of licences lacks cannot be combined."""
    assert len(known_datasets()) >= 12
    for name in known_datasets():
        row = dataset_terms(name)
        assert row is not None
        assert row.url.startswith("https://"), name
        assert row.source, name
        assert date.fromisoformat(row.read) <= date.today(), name
        if row.licence is not None:
            licence_terms(row.licence)


def test_what_is_given_by_agreement_or_unknown_is_not_shown() -> None:
    """By name or alias."""
    names = ["openneuro", "ADNI", "Forithmus/MR-RATE", "selip-simulated", "ward"]
    assert not_to_be_shown(names) == ["ADNI", "Forithmus/MR-RATE", "ward"]
