"""Batches: what one holds, and that it depends on seed, epoch and study alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from selip.processing.findings import StructuredReport
from selip.processing.laterality import swap_laterality
from selip.training.config import AugmentationConfig, PretrainData
from selip.training.data import BatchSource, Study, StudyTexts, choose_studies
from selip.training.text_similarity import ReleasedTextSimilarity
from selip.training.tokenizer import train_tokenizer

DATA = PretrainData(studies="-", findings="-", volumes="-", batch_studies=8, normal_rate=0.25, max_text_tokens=120)
STILL = AugmentationConfig(flip_probability=0.0, max_shift_mm=0.0, max_gamma=0.0, max_gain=0.0, drop_sequence_id=0.0)
RELEASED = ReleasedTextSimilarity("en")
ALL_KINDS = ("series", "finding", "impression", "report")


@pytest.fixture
def make_source(memory_studies, memory_table):
    texts = StudyTexts(replace(DATA, text_items=ALL_KINDS))
    tokenizer = train_tokenizer(texts.corpus(memory_studies), vocabulary_size=600, max_tokens=120)

    def make(
        augmentation=STILL,
        *,
        seed=0,
        token_budget=None,
        process_index=0,
        num_processes=1,
        studies=memory_studies,
        similarity=RELEASED,
        **data,
    ):
        return BatchSource(
            studies,
            memory_table,
            tokenizer,
            replace(DATA, **data),
            augmentation,
            similarity,
            seed=seed,
            token_budget=token_budget,
            process_index=process_index,
            num_processes=num_processes,
        )

    return make


def texts_of(source, batch) -> list[str]:
    ids, mask = batch["inputs"]["input_ids"], batch["inputs"]["attention_mask"]
    return [
        source.tokenizer.decode(row[keep.bool()], skip_special_tokens=True)
        for row, keep in zip(ids, mask, strict=True)
    ]


def test_no_text_occurs_twice_in_a_batch(make_source):
    """Texts are unique across a global batch, and every abnormal study comes at most once an epoch."""
    source = make_source(AugmentationConfig())
    for epoch in range(3):
        seen = []
        for batch in source.plan(epoch):
            texts = [text.item.text for study in batch for text in study.texts]
            assert len(set(texts)) == len(texts) == 8
            seen += [study.study_id for study in batch]
        assert len(set(seen)) == len(seen)


def test_normal_studies_may_say_the_same_where_they_are_allowed_to(make_source):
    """Half of a batch is normal then, with repeated texts, while there are any; abnormal texts stay unique."""
    source = make_source(AugmentationConfig(), normal_rate=0.5, repeat_normal=True)
    repeated, counts = 0, []
    for batch in source.plan(0):
        normal = [study for study in batch if source.studies[study.study_id].report.normal]
        strings = [text.item.text for study in batch if study not in normal for text in study.texts]
        counts.append(len(normal))
        assert len(set(strings)) == len(strings)
        repeated += len({text.item.text for study in normal for text in study.texts}) < len(normal)
    assert repeated
    assert max(counts) == 4  # of 8


def test_text_and_image_of_an_item_belong_together(make_source, memory_studies, memory_table):
    """Each text is what its own study says of the series it is paired with, and the voxels are that series."""
    source = make_source()
    known = {study.study_id: study for study in memory_studies}
    for step in range(4):
        epoch, index = source.locate(step)
        batch = source.batch(step)
        drawn = source.plan(epoch)[index]
        for number, (study, text) in enumerate(zip(drawn, texts_of(source, batch), strict=True)):
            row = study.series[0]
            assert text == source.texts.of_series(known[study.study_id], row.sequence).text
            expected = memory_table.read(row.row).astype(np.float32) / 255
            np.testing.assert_allclose(batch["inputs"]["pixel_values"][number, 0], expected, atol=1e-6)
            assert batch["inputs"]["sequence_ids"][number, 0] == row.sequence_id


def test_flip_exchanges_sides_in_image_and_text_together(make_source):
    """A mirrored volume carries the text with left and right exchanged; doing so twice is doing nothing."""
    plain, mirrored = make_source(STILL), make_source(replace(STILL, flip_probability=1.0))
    lateral = 0
    for study_id, study in plain.studies.items():
        before, after = plain._draw(study, None, 0), mirrored._draw(study, None, 0)
        assert before.series == after.series
        text, swapped = before.texts[0].item, after.texts[0].item
        assert swapped == swap_laterality(text), study_id
        assert swap_laterality(swapped) == text, study_id
        lateral += swapped != text
        images = [source.images([drawn])["pixel_values"] for source, drawn in ((plain, before), (mirrored, after))]
        assert torch.equal(images[1], images[0].flip(2))
        assert not torch.equal(images[0], images[1])
    assert lateral > 20


@pytest.mark.parametrize("num_processes", [2, 4, 8])
def test_processes_share_the_batch_of_one(make_source, num_processes):
    """The batches of several processes, joined, are the batch of one, bit for bit; the targets are the same on all.

    So a run that is resumed with another number of processes sees the same stream of samples.
    """
    kinds = {"text_items": ("series", "impression"), "series_per_study": 2, "token_budget": 20}
    one = make_source(AugmentationConfig(), **kinds)
    ranks = [
        make_source(AugmentationConfig(), process_index=rank, num_processes=num_processes, **kinds)
        for rank in range(num_processes)
    ]
    for step in (0, 3, 7):
        whole, parts = one.batch(step), [rank.batch(step) for rank in ranks]
        assert whole["inputs"].keys() == parts[0]["inputs"].keys()
        for name, value in whole["inputs"].items():
            joined = [part["inputs"][name] for part in parts]
            if name == "text_study":  # counted within a process
                joined = [part + rank * 8 // num_processes for rank, part in enumerate(joined)]
            # token rows too: a share is padded as far as the whole, on which the draw of dropout depends
            assert torch.equal(torch.cat(joined), value), name
        for part in parts:
            for name in ("text_study", "text_mask", "similarity"):
                assert torch.equal(part[name], whole[name]), name


def test_batch_depends_on_its_step_alone(make_source):
    """A source asked for a late step at once gives what a source that came by all steps gives; seeds differ."""
    walked, fresh = make_source(AugmentationConfig()), make_source(AugmentationConfig())
    late = [walked.batch(step) for step in range(10)][9]
    jumped = fresh.batch(9)
    assert torch.equal(late["inputs"]["pixel_values"], jumped["inputs"]["pixel_values"])
    assert torch.equal(late["inputs"]["input_ids"], jumped["inputs"]["input_ids"])
    other = make_source(AugmentationConfig(), seed=1).batch(9)
    assert not torch.equal(other["inputs"]["pixel_values"], jumped["inputs"]["pixel_values"])


def test_patch_mask_holds_the_head_or_a_subset_of_it(make_source, memory_table):
    """Without a budget every patch that touches the head; with one, so many of them, and absent series have none.

    Which ones differs by series and epoch and is the same in every source.
    """
    whole = make_source(series_per_study=4).batch(0)["inputs"]
    expected = torch.from_numpy(memory_table.patch_counts(0) > 0)
    assert expected.sum() == 60
    for number, slot in np.ndindex(8, 4):
        is_real = whole["series_mask"][number, slot]
        assert torch.equal(whole["patch_mask"][number, slot], expected if is_real else torch.zeros_like(expected))
    assert not whole["series_mask"].all()
    budgeted = make_source(series_per_study=2, token_budget=25)
    inputs = budgeted.batch(0)["inputs"]
    masks = inputs["patch_mask"][inputs["series_mask"]]
    assert len(masks) > 8
    assert (masks.flatten(1).sum(1) == 25).all()
    assert not masks[:, ~expected].any()
    assert len(masks.flatten(1).unique(dim=0)) == len(masks)
    again = make_source(series_per_study=2, token_budget=25)
    assert torch.equal(again.batch(0)["inputs"]["patch_mask"], inputs["patch_mask"])
    study = next(iter(budgeted.studies.values()))
    epochs = [budgeted.images([budgeted._draw(study, None, epoch)])["patch_mask"] for epoch in (0, 1)]
    assert not torch.equal(*epochs)


def test_token_budget_changes_nothing_but_the_patches(make_source):
    """Series, augmentation and texts are drawn before the patches: a budget leaves them as they were."""
    plain, budgeted = make_source(AugmentationConfig()), make_source(AugmentationConfig(), token_budget=9)
    for name, value in plain.batch(3)["inputs"].items():
        if name != "patch_mask":
            assert torch.equal(budgeted.batch(3)["inputs"][name], value), name


def test_normal_studies_come_at_the_stated_rate(make_source):
    """No batch holds more normal studies than the rate says; with rate 0 there is none."""
    for rate, most in ((0.25, 2), (0.0, 0)):
        source = make_source(normal_rate=rate)
        counts = [
            sum(source.studies[study.study_id].report.normal for study in batch)
            for epoch in range(3)
            for batch in source.plan(epoch)
        ]
        assert max(counts) == most


def test_batches_of_one_sequence_hold_one_sequence(make_source):
    """With `batch_sequences` one, every negative is of the query's sequence; a series comes at most once an epoch."""
    source = make_source(batch_sequences="one", batch_studies=4, normal_rate=0.25)
    seen = []
    for batch in source.plan(1):
        assert len({row.sequence for study in batch for row in study.series}) == 1
        seen += [(study.study_id, study.series[0].sequence) for study in batch]
    assert len(set(seen)) == len(seen)
    assert len({sequence for _, sequence in seen}) == 5
    mixed = make_source(batch_studies=4).plan(1)
    assert max(len({row.sequence for study in batch for row in study.series}) for batch in mixed) > 1


def test_both_kinds_of_batch_share_an_epoch(make_source):
    """With `batch_sequences` both, an epoch is as long as its two parts, and holds batches of either kind."""
    lengths = {
        kind: len(make_source(batch_sequences=kind, batch_studies=4).plan(1)) for kind in ("one", "mixed", "both")
    }
    assert lengths["both"] == lengths["one"] + lengths["mixed"]
    counts = [
        len({row.sequence for study in batch for row in study.series})
        for batch in make_source(batch_sequences="both", batch_studies=4).plan(1)
    ]
    assert counts.count(1) >= lengths["one"]
    assert max(counts) > 1


def test_all_kinds_of_text_name_the_series_they_speak_of(make_source, memory_studies):
    """Series and finding items speak of one slot, impression and report of all; P is the same for every study."""
    source = make_source(text_items=ALL_KINDS, series_per_study=2)
    batch = source.batch(0)
    inputs, per_study = batch["inputs"], 2 + 2 + 1 + 1
    assert len(batch["text_mask"]) == 8 * per_study == len(inputs["input_ids"])
    assert inputs["text_study"].tolist() == [number for number in range(8) for _ in range(per_study)]
    own = torch.tensor([[1, 0], [0, 1], [1, 0], [0, 1]]).bool()
    slots = inputs["text_series_mask"].reshape(8, per_study, 2)
    drawn = source.plan(0)[0]
    for number, study in enumerate(drawn):
        assert torch.equal(slots[number, :4], own)
        assert slots[number, 4:, : len(study.series)].all()
    # padding says nothing and is like nothing
    missing = ~batch["text_mask"]
    assert (batch["similarity"][missing] == 0).all()
    assert (batch["similarity"][:, missing] == 0).all()


def test_similarity_is_between_the_texts_of_the_batch(make_source):
    """Rows follow the texts: the diagonal is one, and equal clauses in another row are alike."""
    batch = make_source().batch(0)
    similarity = batch["similarity"]
    assert torch.equal(similarity, similarity.T)
    assert (similarity.diagonal() == 1).all()
    assert 0 < (similarity > 0).float().mean() < 1


def test_sequence_id_is_withheld_at_its_rate(make_source):
    """With probability one, no sequence id is shown; the series are the same."""
    shown, hidden = make_source(), make_source(replace(STILL, drop_sequence_id=1.0))
    assert (shown.batch(0)["inputs"]["sequence_ids"] > 0).all()
    assert (hidden.batch(0)["inputs"]["sequence_ids"] == 0).all()
    assert torch.equal(shown.batch(0)["inputs"]["pixel_values"], hidden.batch(0)["inputs"]["pixel_values"])


def test_studies_without_text_are_counted(make_source, memory_studies):
    """A study whose report says nothing of its series is left out and counted, not paired with an empty text."""
    silent = replace(memory_studies[1], report=memory_studies[1].report.model_copy(update={"findings": []}))
    others = [study for study in memory_studies if study.study_id != silent.study_id]
    source = make_source(studies=[silent, *others])
    assert source.num_without_text == 1 + make_source(studies=others).num_without_text
    assert silent.study_id not in source.studies


def test_impossible_batches_are_refused(make_source, memory_studies):
    """The message says what to change."""
    with pytest.raises(ValueError, match="batch_studies"):
        make_source(studies=memory_studies[:6])
    with pytest.raises(ValueError, match="multiple of the 3 processes"):
        make_source(num_processes=3)


def test_report_that_could_not_be_structured_is_no_text(make_source, memory_studies):
    """Words without structured findings cannot be compared with other texts: such a study is left out and counted."""
    silent = StructuredReport(normal=False, findings=[], impression=[])
    studies = [replace(memory_studies[0], study_id="silent", report=silent), *memory_studies[1:]]
    assert studies[0].written
    source = make_source(studies=studies, text_items=("report",))
    assert source.num_without_text == 1
    assert "silent" not in source.studies


def test_a_share_of_the_studies_is_among_a_larger_share():
    """Whatever their order; the number is the share, rounded up, and the order is kept."""
    studies = [Study(f"sub-{number:03d}", (), StructuredReport(normal=True), "") for number in range(50)]
    chosen = {share: choose_studies(studies, share) for share in (0.01, 0.31, 0.6, 1)}
    assert [len(each) for each in chosen.values()] == [1, 16, 30, 50]
    assert chosen[1] == studies
    for fewer, more in ((0.01, 0.31), (0.31, 0.6)):
        assert [study for study in chosen[more] if study in chosen[fewer]] == chosen[fewer]
    assert choose_studies(studies[::-1], 0.31) == chosen[0.31][::-1]
    assert chosen[0.31] != studies[:16]


@pytest.mark.parametrize("share", [0, -0.5, 1.5])
def test_impossible_shares_are_refused(share):
    """With what was expected."""
    with pytest.raises(ValueError, match="study_share"):
        PretrainData("studies", "findings", "volumes", study_share=share)
