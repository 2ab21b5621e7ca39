"""Losses against loops written here, and the identities that method.md states."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from selip.modeling_selip.loss_selip import (
    FAITHFUL_FLOOR,
    clip_loss,
    compared_pairs,
    fvlm_loss,
    row_normalised,
    scale_of,
    selip_loss,
    selip_recommended_loss,
    selip_targets,
    soft_target_clip_loss,
)


@pytest.fixture
def pairs():
    """Seven pairs with a symmetric similarity; studies 0-6, all real."""
    generator = torch.Generator().manual_seed(3)
    images = F.normalize(torch.randn(7, 5, generator=generator), dim=-1).requires_grad_()
    texts = F.normalize(torch.randn(7, 5, generator=generator), dim=-1).requires_grad_()
    similarity = torch.rand(7, 7, generator=generator)
    similarity = (similarity + similarity.T) / 2
    similarity[2, 5] = similarity[5, 2] = 0.0
    similarity.fill_diagonal_(1.0)
    return images, texts, torch.tensor([math.log(14.29)]), similarity


def loop_loss(images, texts, scale, similarity, study, real, *, floor, targets):
    """Reference in plain Python: `targets` is "own", "selip" (CLIP + KL with floors) or "recommended"."""
    images, texts, similarity = images.detach().numpy(), texts.detach().numpy(), similarity.numpy()
    rows = [row for row in range(len(images)) if real[row]]
    total = 0.0
    for row in rows:
        columns = [column for column in rows if column == row or study[column] != study[row]]
        mass = max(sum(similarity[row, column] for column in columns), FAITHFUL_FLOOR)
        for score in (
            {column: scale * images[row] @ texts[column] for column in columns},
            {column: scale * images[column] @ texts[row] for column in columns},
        ):
            norm = sum(math.exp(value) for value in score.values())
            prob = {column: math.exp(value) / norm for column, value in score.items()}
            quota = {column: max(similarity[row, column] / mass, floor) for column in columns}
            if targets == "own":
                total -= math.log(prob[row]) / 2
            elif targets == "selip":
                total -= math.log(prob[row]) / 2
                total += (
                    sum(
                        quota[column] * math.log(quota[column] / max(prob[column], floor))
                        for column in columns
                        if quota[column] > 0
                    )
                    / 2
                )
            else:
                total -= sum(((column == row) + quota[column]) / 2 * math.log(prob[column]) for column in columns) / 2
    return total / len(rows)


STUDIES = [[0, 1, 2, 3, 4, 5, 6], [0, 0, 1, 2, 2, 2, 3]]
MASKS = [[True] * 7, [True, True, False, True, True, False, True]]


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("real", MASKS)
@pytest.mark.parametrize(
    ("loss", "floor", "targets"),
    [
        (lambda i, t, s, c, y: clip_loss(i, t, s, c), 0.0, "own"),
        (selip_loss, FAITHFUL_FLOOR, "selip"),
        (selip_recommended_loss, 0.0, "recommended"),
    ],
    ids=["clip", "selip", "selip_recommended"],
)
def test_loss_equals_the_loop_over_compared_pairs(pairs, study, real, loss, floor, targets):
    """Each loss equals a plain loop that skips padding and other views of the same study."""
    images, texts, logit_scale, similarity = pairs
    compared = compared_pairs(torch.tensor(study), torch.tensor(real))
    value = loss(images, texts, logit_scale, compared, similarity)
    expected = loop_loss(images, texts, 14.29, similarity, study, real, floor=floor, targets=targets)
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_padding_changes_neither_loss_nor_gradient(pairs):
    """Padded items are as if they were not there, for the loss and for the gradient of every real embedding."""
    images, texts, logit_scale, similarity = pairs
    real = torch.tensor([True, True, True, True, False, True, False])
    study = torch.arange(7)
    for loss in (selip_loss, selip_recommended_loss):
        padded = loss(images, texts, logit_scale, compared_pairs(study, real), similarity)
        without = loss(images[real], texts[real], logit_scale, compared_pairs(study[real]), similarity[real][:, real])
        assert padded.item() == pytest.approx(without.item(), rel=1e-6)
        for embeds in (images, texts):
            (got,) = torch.autograd.grad(padded, embeds, retain_graph=True)
            (expected,) = torch.autograd.grad(without, embeds, retain_graph=True)
            torch.testing.assert_close(got, expected)
            assert (got[~real] == 0).all()


def test_selip_is_twice_soft_target_clip_less_the_entropy(pairs):
    """CLIP + KL(Q || P) = 2 softCLIP(Y = (I + Q) / 2) - H(Q): method.md 1.5, floors off."""
    images, texts, logit_scale, similarity = pairs
    compared = compared_pairs(torch.arange(7))
    quota = row_normalised(similarity, compared)
    entropy = -(quota * quota.clamp(min=1e-30).log()).sum() / 7
    logits = scale_of(logit_scale) * images @ texts.T
    divergence = (
        F.kl_div(logits.log_softmax(-1), quota, reduction="sum")
        + F.kl_div(logits.T.log_softmax(-1), quota, reduction="sum")
    ) / (2 * 7)
    released_without_floor = (
        F.cross_entropy(logits, torch.arange(7)) / 2 + F.cross_entropy(logits.T, torch.arange(7)) / 2 + divergence
    )
    recommended = selip_recommended_loss(images, texts, logit_scale, compared, similarity)
    torch.testing.assert_close(released_without_floor, 2 * recommended - entropy, rtol=1e-5, atol=1e-6)


def test_identity_similarity_is_clip(pairs):
    """With no two texts alike, soft targets are CLIP's."""
    images, texts, logit_scale, _ = pairs
    compared = compared_pairs(torch.arange(7))
    torch.testing.assert_close(
        selip_recommended_loss(images, texts, logit_scale, compared, torch.eye(7)),
        clip_loss(images, texts, logit_scale, compared),
    )
    torch.testing.assert_close(
        soft_target_clip_loss(images, texts, logit_scale, compared, torch.eye(7)),
        clip_loss(images, texts, logit_scale, compared),
    )


def test_fvlm_shares_a_target_among_equal_texts(pairs):
    """Against the cross-entropies written out: texts 0, 2 and 5 say the same, the others are on their own."""
    images, texts, logit_scale, _ = pairs
    compared = compared_pairs(torch.arange(7))
    similarity = torch.eye(7)
    for i, j in itertools.permutations((0, 2, 5), 2):
        similarity[i, j] = 1.0
    logits = logit_scale.exp().clamp(max=100) * images @ texts.T
    expected = 0.0
    for direction in (logits, logits.T):
        log_probs = direction.log_softmax(-1)
        for i in range(7):
            equal = (0, 2, 5) if i in (0, 2, 5) else (i,)
            expected -= sum(log_probs[i, j] for j in equal) / len(equal) / 7 / 2
    torch.testing.assert_close(fvlm_loss(images, texts, logit_scale, compared, similarity), expected)
    torch.testing.assert_close(
        fvlm_loss(images, texts, logit_scale, compared, torch.eye(7)),
        clip_loss(images, texts, logit_scale, compared),
    )


def test_first_target_row_of_the_method():
    """Q of the first text of method.md 1.4, from its printed similarities."""
    similarity = torch.zeros(5, 5)
    similarity[0] = torch.tensor([1.0, 0.4583, 0.3913, 0.6250, 0.0])
    quota = row_normalised(similarity, compared_pairs(torch.arange(5)))
    np.testing.assert_allclose(quota[0], [0.4041, 0.1852, 0.1581, 0.2526, 0.0], atol=5e-5)


def test_true_pair_keeps_half_of_the_target(pairs):
    """Rows of Y sum to one and hold at least one half on the diagonal, whatever is similar."""
    *_, similarity = pairs
    for study in STUDIES:
        targets = selip_targets(similarity, compared_pairs(torch.tensor(study)))
        torch.testing.assert_close(targets.sum(-1), torch.ones(7))
        assert (targets.diagonal() >= 0.5).all()


def test_released_form_warns_above_256_texts_and_the_recommended_one_does_not():
    """The floor distorts large batches: the user is told."""
    generator = torch.Generator().manual_seed(0)
    embeds = F.normalize(torch.randn(257, 4, generator=generator), dim=-1)
    compared, similarity = compared_pairs(torch.arange(257)), torch.eye(257)
    with pytest.warns(UserWarning, match="257"):
        selip_loss(embeds, embeds, torch.zeros(1), compared, similarity)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        selip_recommended_loss(embeds, embeds, torch.zeros(1), compared, similarity)


def test_scale_is_clamped_between_one_and_a_hundred():
    """The inverse temperature stays within CLIP's bounds however far the parameter drifts."""
    assert scale_of(torch.tensor([9.0])).item() == pytest.approx(100.0)
    assert scale_of(torch.tensor([-3.0])).item() == 1.0
    assert scale_of(torch.tensor([math.log(14.29)])).item() == pytest.approx(14.29)
