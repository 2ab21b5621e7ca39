"""Controls have SeLIP's loss and its mass on the true pair, and targets that say nothing of what is similar."""

import pytest
import torch

from selip.modeling_selip.loss_selip import compared_pairs, selip_loss, selip_targets
from selip.training.benchmark.control_objectives import (
    permuted_selip_loss,
    permuted_similarity,
    uniform_selip_loss,
    uniform_similarity,
)


@pytest.fixture
def similarity():
    """Eight texts of six studies, one of them padding."""
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(8, 8, generator=generator) ** 3
    return torch.maximum((values + values.T) / 2, torch.eye(8))


COMPARED = compared_pairs(torch.tensor([0, 0, 1, 2, 3, 4, 4, 5]), torch.tensor([True] * 7 + [False]))


@pytest.mark.parametrize("change", [uniform_similarity, permuted_similarity])
def test_mass_on_the_true_pair_is_that_of_selip(similarity, change):
    """Rows keep their sum over compared pairs and their diagonal, so the true pair keeps its share of the target."""
    changed = change(similarity, COMPARED)
    own, theirs = selip_targets(similarity, COMPARED), selip_targets(changed, COMPARED)
    assert torch.allclose(own.diagonal(), theirs.diagonal(), atol=1e-6)
    assert torch.equal(changed.diagonal(), similarity.diagonal())
    assert not torch.allclose(own, theirs, atol=0.01)


def test_uniform_targets_are_equal_within_a_row(similarity):
    """Off the diagonal a row has one value, the mean of what it had."""
    changed = uniform_similarity(similarity, COMPARED)
    for row in range(7):
        others = [column for column in range(8) if COMPARED[row, column] and column != row]
        expected = sum(similarity[row, column].item() for column in others) / len(others)
        assert changed[row, others].tolist() == pytest.approx([expected] * len(others))


def test_permuted_targets_are_the_same_numbers_elsewhere(similarity):
    """Each row holds the values it held, none in its place."""
    changed = permuted_similarity(similarity, COMPARED)
    for row in range(7):
        others = [column for column in range(8) if COMPARED[row, column] and column != row]
        assert sorted(changed[row, others].tolist()) == sorted(similarity[row, others].tolist())
        assert (changed[row, others] != similarity[row, others]).all()


def test_losses_are_selip_with_other_targets(similarity):
    """The loss of a control is SeLIP's own at the changed similarity; it differs from SeLIP's at the true one."""
    generator = torch.Generator().manual_seed(1)
    images, texts = (torch.nn.functional.normalize(torch.randn(8, 5, generator=generator), dim=-1) for _ in range(2))
    scale = torch.tensor([2.0])
    plain = selip_loss(images, texts, scale, COMPARED, similarity)
    for loss, change in ((uniform_selip_loss, uniform_similarity), (permuted_selip_loss, permuted_similarity)):
        got = loss(images, texts, scale, COMPARED, similarity)
        assert got == selip_loss(images, texts, scale, COMPARED, change(similarity, COMPARED))
        assert got != plain
