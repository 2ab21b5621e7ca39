"""Invariants of the models with a head, on both backbones. Weights are random, so that nothing hides behind a zero."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from selip.modeling_selip import SelipConfig, SelipForVolumeClassification, SelipForVolumeSegmentation
from selip.modeling_selip.decoder_selip import SelipVolumeMap, decoder_sizes, tower_map_sizes, volume_sizes
from selip.modeling_selip.supervised_loss_selip import (
    multi_label_loss,
    segmentation_loss,
    single_label_loss,
    soft_dice,
)

IMAGES = ("pixel_values", "series_mask", "sequence_ids", "patch_mask")
HEADS = (SelipForVolumeClassification, SelipForVolumeSegmentation)


@pytest.fixture
def pretrained(tiny_model, tmp_path):
    """A pretraining checkpoint, and the model that it holds."""
    tiny_model.save_pretrained(tmp_path / "pretrained")
    return tmp_path / "pretrained", tiny_model


@pytest.fixture
def build_head(tiny_model):
    """Makes a head with random weights on the tower of the tiny model."""

    def build(head, num_labels=3, **fields):
        torch.manual_seed(5)
        settings = {**tiny_model.config.to_dict(), "decoder_width": 8, "num_labels": num_labels, **fields}
        model = head(SelipConfig(**settings)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        model.vision_model.population.load_state_dict(tiny_model.vision_model.population.state_dict())
        return model

    return build


@pytest.fixture(params=HEADS, ids=["classification", "segmentation"])
def head_model(request, build_head):
    return build_head(request.param)


def images(studies):
    return {name: studies[name] for name in IMAGES}


def logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits


def test_logits_have_one_value_a_label_and_voxel(build_head, studies):
    """(B, K) of a classification, (B, K, X, Y, Z) on the study box of a segmentation; affines are handed on."""
    assert logits(build_head(SelipForVolumeClassification), images(studies)).shape == (2, 3)
    affines = torch.eye(4).expand(2, 3, 4, 4)
    output = build_head(SelipForVolumeSegmentation)(**images(studies), affines=affines)
    assert output.logits.shape == (2, 3, 16, 20, 8)
    assert output.affines is affines


def test_absent_series_and_other_studies_change_nothing(head_model, studies):
    """What an absent slot holds, how many there are, and what else is in the batch leave the scores of a study."""
    expected = logits(head_model, images(studies))
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    wider = images(studies)
    wider["pixel_values"] = torch.cat([studies["pixel_values"], torch.full((2, 2, 16, 20, 8), 0.7)], dim=1)
    wider["pixel_values"][1, 2] = float("nan")
    wider["series_mask"] = torch.cat([studies["series_mask"], torch.zeros(2, 2, dtype=torch.bool)], dim=1)
    wider["sequence_ids"] = torch.cat([studies["sequence_ids"], torch.full((2, 2), 5)], dim=1)
    wider["patch_mask"] = torch.cat([studies["patch_mask"], torch.ones(2, 2, 4, 5, 4, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(logits(head_model, wider), expected, rtol=1e-4, atol=1e-5)
    for study, slots in ((0, 3), (1, 2)):
        alone = {name: value[study : study + 1, :slots] for name, value in images(studies).items()}
        torch.testing.assert_close(logits(head_model, alone)[0], expected[study], rtol=1e-4, atol=1e-5)


def test_series_are_a_set_and_each_counts(head_model, studies):
    """The order of series does not matter; which sequence a series is, and what it shows, does."""
    expected = logits(head_model, images(studies))
    order = torch.tensor([2, 0, 1])
    permuted = {name: value[:, order] for name, value in images(studies).items()}
    torch.testing.assert_close(logits(head_model, permuted), expected, rtol=1e-4, atol=1e-5)
    renamed = {**images(studies), "sequence_ids": studies["sequence_ids"].clone()}
    renamed["sequence_ids"][0, 0] = 6
    changed = {**images(studies), "pixel_values": studies["pixel_values"].clone()}
    changed["pixel_values"][0, 1] = 1 - changed["pixel_values"][0, 1]
    for other in (renamed, changed):
        got = logits(head_model, other)
        assert (got[0] - expected[0]).abs().max() > 1e-3
        torch.testing.assert_close(got[1], expected[1], rtol=1e-4, atol=1e-5)


def test_segmentation_reads_the_whole_box(build_head, studies):
    """Which patches touch the head does not matter to a dense task; a voxel of air far from all others does."""
    model = build_head(SelipForVolumeSegmentation)
    expected = logits(model, images(studies))
    nothing = {**images(studies), "patch_mask": torch.zeros_like(studies["patch_mask"])}
    assert torch.equal(logits(model, nothing), expected)


def test_volume_map_is_the_mean_of_one_convolution_a_series():
    """One grouped convolution over all studies equals a loop over series, each with the kernels of its sequence."""
    torch.manual_seed(1)
    module = SelipVolumeMap(4, num_sequences=6)
    with torch.no_grad():
        module.kernel.normal_()
    volumes, ids = torch.rand(2, 3, 5, 6, 4), torch.tensor([[1, 4, 4], [2, 0, 5]])
    mask = torch.tensor([[True, True, True], [True, False, True]])
    for study in range(2):
        parts = []
        for slot in mask[study].nonzero()[:, 0].tolist():
            kernel = module.kernel + module.sequence_kernel.weight[ids[study, slot]].view(4, 1, 3, 3, 3)
            parts.append(F.conv3d(volumes[study, slot][None, None], kernel, padding=1)[0])
        expected = torch.stack(parts).mean(0)
        torch.testing.assert_close(module(volumes, mask, ids)[study], expected, rtol=1e-4, atol=1e-5)


def test_sizes_of_the_decoder_are_those_of_the_tower(head_model, studies):
    """Maps have the sizes that the decoder was built for, and no axis more than doubles on the way to the box."""
    config = head_model.vision_model.config
    maps = head_model.vision_model(studies["pixel_values"][:, 0], studies["sequence_ids"][:, 0]).feature_maps
    assert tower_map_sizes(config) == [(tuple(each.shape[2:]), each.shape[1]) for each in maps]
    sizes = decoder_sizes([size for size, _ in tower_map_sizes(config)] + volume_sizes(config))
    assert sizes[-1] == (16, 20, 8)
    for smaller, larger in pairwise(sizes):
        assert all(a <= b <= 2 * a for a, b in zip(smaller, larger, strict=True))


def labels_for(model, studies):
    if model.head_name == "classifier":
        return torch.tensor([[1.0, 0.0, -100.0], [0.0, 1.0, 1.0]])
    return torch.randint(0, 3, (2, 16, 20, 8), generator=torch.Generator().manual_seed(3))


def test_every_weight_learns(head_model, studies):
    """The loss has a gradient in every parameter: DDP refuses any that no loss reaches."""
    head_model(**images(studies), labels=labels_for(head_model, studies)).loss.backward()
    without = [name for name, value in head_model.named_parameters() if value.grad is None or not value.grad.any()]
    # a bias of keys moves all scores of a query alike, so its gradient is zero but for rounding
    assert [name for name in without if not name.endswith("k_proj.bias")] == []


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize("head", HEADS)
def test_frozen_backbone_stays_as_it_is(build_resnet, studies, head, norm):
    """With the backbone frozen one step moves every weight of the head, and nothing else: no statistic either."""
    tiny = build_resnet(norm=norm)
    model = head(SelipConfig(**{**tiny.config.to_dict(), "decoder_width": 8, "num_labels": 3}))
    model.freeze_backbone()
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=0.1)
    model(**images(studies), labels=labels_for(model, studies)).loss.backward()
    optimizer.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    of_head = {name for name in before if name.startswith(f"{model.head_name}.")}
    assert moved == of_head
    assert getattr(model, model.head_name).training


@pytest.mark.parametrize("head", HEADS)
def test_head_starts_from_a_pretraining_checkpoint(pretrained, studies, head):
    """`from_pretrained` takes every weight before the head, reports the head alone as new, and nothing as unknown."""
    folder, tiny = pretrained
    model, report = head.from_pretrained(folder, num_labels=3, decoder_width=8, output_loading_info=True)
    weights, given = model.state_dict(), tiny.state_dict()
    assert set(report["missing_keys"]) == {name for name in weights if name.startswith(f"{head.head_name}.")}
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    for name in weights.keys() - set(report["missing_keys"]):
        assert torch.equal(weights[name], given[name]), name
    assert all(value.isfinite().all() and value.float().abs().max() < 1e3 for value in weights.values())


def test_saving_and_loading_changes_no_score(head_model, studies, tmp_path):
    """Bit for bit, through the Auto class of its task, with labels by name."""
    from transformers import AutoModelForImageClassification, AutoModelForSemanticSegmentation

    import selip

    selip.register()
    head_model.config.id2label = {0: "background", 1: "mass", 2: "edema"}
    head_model.save_pretrained(tmp_path / "head")
    is_dense = head_model.head_name == "decoder"
    auto = AutoModelForSemanticSegmentation if is_dense else AutoModelForImageClassification
    again = auto.from_pretrained(tmp_path / "head").eval()
    assert type(again) is type(head_model)
    assert again.config.id2label == {0: "background", 1: "mass", 2: "edema"}
    assert torch.equal(logits(again, images(studies)), logits(head_model, images(studies)))


def test_classification_losses_equal_loops():
    """Each study counts the same; what is not known adds nothing and has no gradient."""
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(4, 3, generator=generator, requires_grad=True)
    labels = torch.tensor([[1.0, 0, 1], [0, -100, 1], [-100, -100, -100], [-100, 1, -100]])
    total = 0.0
    for study in range(4):
        known = [k for k in range(3) if labels[study, k] >= 0]
        parts = [-torch.log(torch.sigmoid(scores[study, k] * (2 * labels[study, k] - 1))).item() for k in known]
        total += sum(parts) / len(parts) if parts else 0.0
    loss = multi_label_loss(scores, labels)
    assert loss.item() == pytest.approx(total / 4, rel=1e-5)
    loss.backward()
    assert torch.equal(scores.grad == 0, labels == -100)

    classes = torch.tensor([2, -100, 0, 1])
    parts = [-torch.log_softmax(scores[i], 0)[classes[i]].item() for i in (0, 2, 3)]
    assert single_label_loss(scores, classes).item() == pytest.approx(sum(parts) / 4, rel=1e-5)


def test_segmentation_loss_equals_loops():
    """Cross-entropy and soft Dice by their formulas, voxel by voxel; an unknown voxel has no say and no gradient."""
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(2, 3, 2, 3, 2, generator=generator, requires_grad=True)
    labels = torch.randint(0, 3, (2, 2, 3, 2), generator=generator)
    labels[0, 1, 2, 1] = labels[1, 0, 0, 0] = -100
    labels[1][labels[1] == 2] = 0  # a class that a study lacks
    total = 0.0
    for study in range(2):
        shares = scores[study].detach().softmax(0)
        entropy, sums = [], {1: [0.0, 0.0], 2: [0.0, 0.0]}
        for place in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(2)).tolist():
            true, share = int(labels[study][tuple(place)]), shares[:, *place]
            if true < 0:
                continue
            entropy.append(-share[true].log().item())
            for k in (1, 2):
                sums[k][0] += share[k].item() * (true == k)
                sums[k][1] += share[k].item() + (true == k)
        dice = [(2 * both + 1) / (either + 1) for both, either in sums.values()]
        torch.testing.assert_close(soft_dice(shares[None], labels[study : study + 1])[0], torch.tensor(dice))
        total += sum(entropy) / len(entropy) + 1 - sum(dice) / 2
    loss = segmentation_loss(scores, labels)
    assert loss.item() == pytest.approx(total / 2, rel=1e-5)
    loss.backward()
    assert torch.equal((scores.grad == 0).all(1), labels == -100)


def test_loss_of_a_batch_is_the_mean_of_its_studies(head_model, studies):
    """So two processes with a study each take the gradient of one with both."""
    labels = labels_for(head_model, studies)
    with torch.no_grad():
        together = head_model(**images(studies), labels=labels).loss
        alone = [
            head_model(**{k: v[i : i + 1] for k, v in images(studies).items()}, labels=labels[i : i + 1]).loss
            for i in range(2)
        ]
    torch.testing.assert_close(together, sum(alone) / 2, rtol=1e-4, atol=1e-5)


def test_wrong_use_says_what_is_wrong(build_head, studies):
    """Configuration and labels that fit no head, a volume of another box."""
    with pytest.raises(ValueError, match="problem_type multi_label_classification or single"):
        build_head(SelipForVolumeClassification, problem_type="regression")
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        build_head(SelipForVolumeSegmentation, decoder_width=6)
    with pytest.raises(ValueError, match=r"labels of shape \(2, 3\), got \(2,\)"):
        build_head(SelipForVolumeClassification)(**images(studies), labels=torch.tensor([0, 1]))
    model = build_head(SelipForVolumeSegmentation)
    with pytest.raises(ValueError, match=r"labels \(B, X, Y, Z\)"):
        model(**images(studies), labels=torch.zeros(2, 16, 20, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="at least two classes"):
        segmentation_loss(torch.zeros(1, 1, 2, 2, 2), torch.zeros(1, 2, 2, 2, dtype=torch.long))


def test_segmentation_needs_to_know_its_box(build_resnet):
    """A tower that takes any box gives no decoder: its sizes must be known."""
    tiny = build_resnet("average", input_norm="none", spatial_size=None)
    with pytest.raises(ValueError, match="spatial_size in vision_config"):
        SelipForVolumeSegmentation(SelipConfig(**{**tiny.config.to_dict(), "num_labels": 2}))
