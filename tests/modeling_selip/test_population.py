"""Deviations from the population of a sequence, and the pooling that gives every position its own weights."""

import numpy as np
import pytest
import torch

from selip.modeling_selip import SelipVisionConfig, SelipVisionModel
from selip.modeling_selip.population_selip import SelipPopulation, pool_input
from selip.modeling_selip.resnet_selip import SelipResNet, map_shape

SIZE = (6, 4, 3)


def config_of(**changes) -> SelipVisionConfig:
    values = {"depth": 10, "hidden_sizes": (8, 8), "stage_strides": ((1, 1, 1), (2, 2, 2)), "spatial_size": SIZE}
    return SelipVisionConfig(**{**values, "input_norm": "population", "num_sequences": 7, **changes})


@pytest.fixture
def samples() -> dict[int, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {1: torch.rand(9, *SIZE, generator=generator), 4: torch.rand(9, *SIZE, generator=generator) / 2 + 0.4}


@pytest.fixture
def population(samples) -> SelipPopulation:
    fitted = SelipPopulation(config_of())
    for sequence_id, volumes in samples.items():
        fitted.fit(sequence_id, volumes)
    return fitted


def test_deviations_equal_those_computed_voxel_by_voxel(population, samples):
    """Against a loop over voxels: (value - mean) / (spread + 0.03), over both mirror images, within [-5, 5]."""
    volumes = torch.stack([samples[1][0], samples[4][0]])
    volumes[1, 2, 1, 1] = 9.0
    got = population(volumes, torch.tensor([1, 4]))
    for number, sequence_id in enumerate((1, 4)):
        for x, y, z in np.ndindex(*SIZE):
            values = samples[sequence_id].numpy()
            both = np.concatenate([values[:, x, y, z], values[:, SIZE[0] - 1 - x, y, z]])
            expected = (volumes[number, x, y, z].item() - both.mean()) / (both.std() + 0.03)
            assert got[number, x, y, z].item() == pytest.approx(np.clip(expected, -5, 5), abs=1e-4)
    assert got[1, 2, 1, 1] == 5.0


def test_mirror_image_has_the_mirrored_deviation(population, samples):
    """The population has no side: flipping the volume flips its deviation."""
    ids = torch.full((9,), 4)
    torch.testing.assert_close(population(samples[4].flip(1), ids), population(samples[4], ids).flip(1))


@pytest.mark.parametrize("unknown", [0, 2])
def test_unknown_sequence_is_compared_with_the_most_similar_one(population, samples, unknown):
    """Without an id, or with one that the population lacks, a series is read as the sequence that it looks like."""
    for sequence_id, volumes in samples.items():
        mean_head = volumes.mean(0, keepdim=True)
        got = population(mean_head, torch.tensor([unknown]))
        assert torch.equal(got, population(mean_head, torch.tensor([sequence_id])))


def test_an_empty_population_changes_nothing_but_scale():
    """Before anything is measured: finite, and in the order of the intensities."""
    volumes = torch.rand(2, *SIZE)
    torch.testing.assert_close(SelipPopulation(config_of())(volumes, torch.tensor([0, 3])), volumes / 1.03)


def test_wrong_input_is_named(population):
    """Another study box, and a sequence with a single volume."""
    with pytest.raises(ValueError, match=r"\(6, 4, 3\).*got \(6, 4, 2\)"):
        population(torch.rand(1, 6, 4, 2), torch.tensor([1]))
    with pytest.raises(ValueError, match="at least two volumes of sequence 5, got 1"):
        population.fit(5, torch.rand(1, *SIZE))


def test_input_pool_averages_blocks():
    """Each pooled voxel is the mean of its block; a remainder is cut off."""
    volume = torch.rand(2, 5, 4, 3)
    pooled = pool_input(volume, config_of(spatial_size=(5, 4, 3), input_pool=(2, 2, 1)))
    assert pooled.shape == (2, 2, 2, 3)
    for n, x, y, z in np.ndindex(2, 2, 2, 3):
        block = volume[n, 2 * x : 2 * x + 2, 2 * y : 2 * y + 2, z]
        assert pooled[n, x, y, z].item() == pytest.approx(block.mean().item(), abs=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"stem_pool": True},
        {"stem_pool": False, "stem_kernel_size": (3, 3, 3), "stem_stride": (2, 2, 2), "input_pool": (2, 2, 1)},
        {"stem_pool": False, "stem_kernel_size": (4, 4, 2), "stem_stride": (4, 4, 2)},
        {"stem_pool": False, "stem_kernel_size": (4, 3, 2), "stem_stride": (1, 2, 1)},
        {"stem_pool": False, "stem_kernel_size": (1, 1, 1), "stem_stride": (1, 1, 1)},
    ],
)
@pytest.mark.parametrize("size", [(16, 20, 8), (17, 21, 9)])
def test_map_shape_is_that_of_the_map(changes, size):
    """The size that position pooling is built for equals the size of the map that the network makes."""
    config = config_of(spatial_size=size, **changes)
    pooled = pool_input(torch.zeros(1, *size), config)
    assert map_shape(config) == tuple(SelipResNet(config)(pooled[:, None])[-1].shape[2:])


def test_every_position_has_its_own_weights():
    """Against a loop: the token is a sum over positions of that position's own matrix times its reduced features."""
    config = config_of(pooling="position", position_channels=8, pooled_size=5, spatial_size=(16, 20, 8), norm="batch")
    pooling = SelipVisionModel(config).eval().pooling
    features = torch.randn(2, 8, *map_shape(config))
    weight = pooling.projection.weight.reshape(5, 8, *map_shape(config))
    expected = pooling.projection.bias.repeat(2, 1)
    reduced = torch.relu(pooling.reduce(features))
    for place in np.ndindex(*map_shape(config)):
        expected = expected + reduced[(..., *place)] @ weight[(..., *place)].T
    torch.testing.assert_close(pooling(features), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="expected a last map of"):
        pooling(features[..., :1])


def test_only_a_change_where_the_head_changes_is_seen(population, samples):
    """A lesion changes the deviations of its own voxels alone."""
    ids = torch.tensor([1])
    volume = samples[1][:1]
    with_lesion = volume.clone()
    with_lesion[0, 1:3, 2, 1] += 0.2
    changed = population(with_lesion, ids) != population(volume, ids)
    expected = torch.zeros(1, *SIZE, dtype=torch.bool)
    expected[0, 1:3, 2, 1] = True
    assert torch.equal(changed, expected)
