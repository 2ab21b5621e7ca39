from functools import partial

import pytest
import torch

from selip.modeling_selip import SelipConfig, SelipModel

SIZE = (16, 20, 8)
RESNET = {
    "depth": 10,
    "hidden_sizes": (8, 8, 16, 16),
    "stem_kernel_size": (4, 4, 2),
    "stem_stride": (4, 4, 2),
    "stem_pool": False,
    "stage_strides": ((1, 1, 1), (2, 2, 2), (1, 1, 1), (1, 1, 1)),
    "norm_groups": 4,
}
VIT = {
    "backbone": "vit",
    "width": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "patch_size": (4, 4, 2),
    "spacing_mm": (10.0, 9.0, 14.0),
    "token_budget": 30,
}
SHARED = {"input_norm": "population", "spatial_size": SIZE, "position_channels": 4, "pooled_size": 16}
# sequences that the population of the tiny model knows; 2 is not among them
KNOWN_SEQUENCES = (1, 3, 4, 5, 6)
TEXT = {
    "model_type": "bert",
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def build(backbone: dict, pooling: str = "position", **changes) -> SelipModel:
    """A model of a few thousand parameters with random weights, its logit scale included."""
    torch.manual_seed(7)
    vision = {**SHARED, **backbone, "pooling": pooling, **changes}
    model = SelipModel(SelipConfig(vision_config=vision, text_config=TEXT, projection_dim=12)).eval()
    with torch.no_grad():
        # weights as after training: nothing is zero, so nothing that should not matter can hide behind a zero
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        if model.vision_model.population is not None:
            for sequence_id in KNOWN_SEQUENCES:
                model.vision_model.population.fit(sequence_id, torch.rand(5, *SIZE))
    return model


@pytest.fixture
def build_resnet():
    return partial(build, RESNET)


@pytest.fixture
def build_vit():
    return partial(build, VIT)


@pytest.fixture(params=[RESNET, VIT], ids=["resnet", "vit"])
def build_tiny(request):
    """What holds for one backbone holds for the other."""
    return partial(build, request.param)


@pytest.fixture
def tiny_model(build_tiny) -> SelipModel:
    return build_tiny()


@pytest.fixture
def studies() -> dict[str, torch.Tensor]:
    """Two studies of three and two series (the last slot of the second is padding), and four texts.

    The head of each study fills some of the patches of 4 x 4 x 2 voxels, in a number of its own.
    """
    generator = torch.Generator().manual_seed(11)
    pixel_values = torch.rand(2, 3, *SIZE, generator=generator)
    pixel_values[1, 2] = 0
    patch_mask = torch.rand(2, 1, 4, 5, 4, generator=generator) < torch.tensor([0.3, 0.5]).view(2, 1, 1, 1, 1)
    patch_mask = patch_mask.repeat(1, 3, 1, 1, 1)
    patch_mask[1, 2] = False
    return {
        "patch_mask": patch_mask,
        "pixel_values": pixel_values,
        "series_mask": torch.tensor([[True, True, True], [True, True, False]]),
        "sequence_ids": torch.tensor([[1, 4, 5], [3, 6, 0]]),
        "input_ids": torch.randint(3, 60, (4, 9), generator=generator),
        "attention_mask": torch.tensor([[1] * 9, [1] * 5 + [0] * 4, [1] * 7 + [0] * 2, [1] * 9]),
    }
