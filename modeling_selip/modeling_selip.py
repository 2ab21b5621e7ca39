"""SeLIP: a dual encoder of head MRI studies and report texts (arXiv 2503.19801), and its image side with a head.

Letters: B studies, S series slots of a study, P texts, V views of studies, L text tokens, X Y Z voxels (RAS+),
E embedding, H width of a series token. Masks are bool, True = real.

A view is what a text speaks of: one series, some, or the whole study. The embedding of a view comes from exactly its
series, each encoded alone by the series tower and then fused, so a view never sees any other series of the study.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput

from .configuration_selip import SelipConfig, SelipVisionConfig
from .decoder_selip import SelipDecoder, SelipSeriesMaps, SelipVolumeMap, volume_sizes
from .fusion_selip import SelipFusion
from .localization_selip import attention_rollout, similarity_maps
from .loss_selip import clip_loss, compared_pairs, scale_of, selip_recommended_loss
from .pipelines_selip import custom_pipelines
from .population_selip import SelipPopulation, pool_input
from .resnet_selip import SelipPositionPooling, SelipResNet
from .supervised_loss_selip import multi_label_loss, segmentation_loss, single_label_loss
from .vit_selip import KeptPatches, SelipTokenPooling, SelipViT, grid_of, mean_of_tokens


@dataclass
class SelipVisionOutput(ModelOutput):
    """Output of [`SelipVisionModel`].

    Args:
        last_hidden_state: (N, T, H), positions of the last feature map as a sequence; of a ViT the patches kept.
        pooler_output: (N, H), one token a series.
        feature_maps: one map a stage (N, C, X', Y', Z'), finest first; for segmentation and heatmaps. None where a
            patch mask left out patches of a ViT.
        token_mask: bool (N, T), False where padding stands in `last_hidden_state`; None: nowhere.
    """

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    feature_maps: tuple[torch.Tensor, ...] | None = None
    token_mask: torch.Tensor | None = None


@dataclass
class SelipOutput(ModelOutput):
    """Output of [`SelipModel`]. All embeddings have unit length.

    Args:
        loss: scalar, with `return_loss=True`.
        logits_per_image: (V, P), scaled cosines of views (rows) and texts.
        logits_per_text: (P, V), its transpose.
        image_embeds: (B, E), one a study, from all its series.
        series_embeds: (B, S, E), each series as if it were a study of its own; zero where absent. None with
            `study_layers`, where the tower has to be run on a series alone: give it as a study of one.
        text_embeds: (P, E).
        view_embeds: (V, E): the views that `text_study` and `text_series_mask` name (V = P), else `image_embeds`
            (V = B).
        series_features: (B, S, H), series tokens before fusion: keep them to fuse other subsets later. With
            `study_layers` each has seen the other series of its study.
        affines: (B, S, 4, 4) as given: from box voxels to scanner mm, to place what is computed on the box.
    """

    loss: torch.Tensor | None = None
    logits_per_image: torch.Tensor | None = None
    logits_per_text: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None
    series_embeds: torch.Tensor | None = None
    text_embeds: torch.Tensor | None = None
    view_embeds: torch.Tensor | None = None
    series_features: torch.Tensor | None = None
    affines: torch.Tensor | None = None


@dataclass
class SelipSimilarityMaps(ModelOutput):
    """Output of [`SelipModel.compute_similarity_maps`].

    Args:
        maps: (B, S, P, gx, gy, gz), what each position of the last feature map adds to a cosine; 0 in empty slots.
        similarities: (B, S, P), the cosine of each series, as a study of its own, with each text.
        empty_similarities: (B, S, P), the cosine of a series of which no position says anything. The map of a series
            and a text sums to the difference.
    """

    maps: torch.Tensor | None = None
    similarities: torch.Tensor | None = None
    empty_similarities: torch.Tensor | None = None


@dataclass
class SelipHeadOutput(ModelOutput):
    """Output of [`SelipForVolumeClassification`] and [`SelipForVolumeSegmentation`].

    Args:
        loss: scalar, where labels are given.
        logits: (B, num_labels) of a classification, (B, num_labels, X, Y, Z) on the study box of a segmentation.
        affines: (B, S, 4, 4) as given: from box voxels to scanner mm, to place what is computed on the box.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    affines: torch.Tensor | None = None


class SelipPreTrainedModel(PreTrainedModel):
    """What all SeLIP models share: how weights start and what Transformers may do with the model."""

    config: SelipConfig
    base_model_prefix = "selip"
    input_modalities: tuple[str, ...] = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _no_split_modules = [  # noqa: RUF012  (transformers' form)
        "SelipResNetBlock",
        "SelipViTLayer",
        "SelipFusionLayer",
        "SelipPositionPooling",
        "SelipTokenPooling",
        "SelipDecoderBlock",
    ]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Kaiming for 3D convolutions (the base class would draw N(0, 0.02)); a bare parameter has its own start."""
        if isinstance(module, nn.Conv3d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)
        if isinstance(module, SelipPopulation):
            init.zeros_(module.mean)
            init.ones_(module.spread)
            init.zeros_(module.is_known)
        if isinstance(module, SelipViT):
            init.ones_(module.position_scale)
            if module.class_token is not None:
                init.normal_(module.class_token, std=self.config.initializer_range)
        if isinstance(module, SelipFusion):
            init.ones_(module.sequence_scale.weight)
            init.zeros_(module.sequence_shift.weight)
        if isinstance(module, SelipSeriesMaps):
            init.ones_(module.sequence_scale.weight)
            init.zeros_(module.sequence_shift.weight)
        if isinstance(module, SelipVolumeMap):
            init.normal_(module.kernel, std=27**-0.5)  # 27 voxels of variance 1 give scores of variance 1
            init.zeros_(module.sequence_kernel.weight)
        if isinstance(module, SelipDecoder):
            init.normal_(module.scores.weight, std=self.config.initializer_range)
        if isinstance(module, SelipModel):
            init.constant_(module.logit_scale, self.config.logit_scale_init)


class SelipVisionModel(SelipPreTrainedModel):
    """The series tower: one volume to one token, and to feature maps."""

    config: SelipVisionConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)

    def __init__(self, config: SelipVisionConfig):
        super().__init__(config)
        self.population = SelipPopulation(config) if config.input_norm == "population" else None
        is_vit = config.backbone == "vit"
        self.backbone: Any = SelipViT(config) if is_vit else SelipResNet(config)
        pooling = SelipTokenPooling if is_vit else SelipPositionPooling
        self.pooling: Any = pooling(config) if config.pooling == "position" else None
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        sequence_ids: torch.Tensor | None = None,
        patch_mask: torch.Tensor | None = None,
        series_mask: torch.Tensor | None = None,
    ) -> SelipVisionOutput:
        """
        Args:
            pixel_values: (N, X, Y, Z), one channel, intensities in [0, 1].
            sequence_ids: int64 (N,), the MRI sequence of each series, 0 = unknown; None: all unknown. Read only with
                `input_norm="population"`.
            patch_mask: bool (N, X/px, Y/py, Z/pz), the patches that a ViT reads; None: all, as dense tasks need. A
                ResNet reads the whole box.
            series_mask: bool (B, S) with N times True, the slots of B studies in which the N series stand. Read only
                with `study_layers`; None: every series is a study of its own.
        """
        if pixel_values.ndim != 4:
            raise ValueError(f"expected pixel_values of shape (N, X, Y, Z), got {tuple(pixel_values.shape)}")
        volumes = self.compute_input(pixel_values, sequence_ids)
        if self.config.backbone == "vit":
            kept = None if patch_mask is None else self.backbone.keep(volumes, patch_mask)
            return self._read_patches(volumes, kept, series_mask)
        feature_maps = self.backbone(volumes[:, None])  # (N, X, Y, Z) -> (N, 1, X, Y, Z)
        last = feature_maps[-1]
        pooled = last.mean(dim=(2, 3, 4)) if self.pooling is None else self.pooling(last)
        tokens = last.flatten(2).transpose(1, 2)  # (N, H, X', Y', Z') -> (N, T, H)
        return SelipVisionOutput(last_hidden_state=tokens, pooler_output=pooled, feature_maps=feature_maps)

    def compute_input(self, pixel_values: torch.Tensor, sequence_ids: torch.Tensor | None = None) -> torch.Tensor:
        """What the first layer sees: pooled, and as deviations from the population where there is one.

        Args:
            pixel_values: (N, X, Y, Z).
            sequence_ids: int64 (N,); None: all unknown.

        Returns:
            (N, X', Y', Z').
        """
        volumes = pool_input(pixel_values, self.config)
        if self.population is None:
            return volumes
        if sequence_ids is None:
            sequence_ids = torch.zeros(len(volumes), dtype=torch.long, device=volumes.device)
        return self.population(volumes, sequence_ids)

    def _read_patches(
        self, volumes: torch.Tensor, kept: KeptPatches | None, series_mask: torch.Tensor | None
    ) -> SelipVisionOutput:
        features = self.backbone(volumes, kept, series_mask)
        num_class_tokens = 0 if self.backbone.class_token is None else 1
        tokens = features[-1][:, num_class_tokens:]
        grid = grid_of(volumes, self.backbone.patch)
        if self.pooling is not None:
            pooled = self.pooling(tokens, kept, grid)
        else:
            pooled = features[-1][:, 0] if num_class_tokens else mean_of_tokens(tokens, kept)
        feature_maps = None
        if kept is None:
            # (N, G, H) -> (N, H, gx, gy, gz)
            maps = (each[:, num_class_tokens:].transpose(1, 2).unflatten(2, grid) for each in features)
            feature_maps = tuple(maps)
        return SelipVisionOutput(
            last_hidden_state=tokens,
            pooler_output=pooled,
            feature_maps=feature_maps,
            token_mask=None if kept is None else kept.mask,
        )


class SelipStudyModel(SelipPreTrainedModel):
    """What all models of studies share: a series tower that is run over the series that exist."""

    main_input_name = "pixel_values"
    vision_model: SelipVisionModel

    @staticmethod
    def _series_defaults(
        pixel_values: torch.Tensor, series_mask: torch.Tensor | None, sequence_ids: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if pixel_values.ndim != 5:
            raise ValueError(f"expected pixel_values of shape (B, S, X, Y, Z), got {tuple(pixel_values.shape)}")
        shape = pixel_values.shape[:2]
        if series_mask is None:
            series_mask = pixel_values.new_ones(shape, dtype=torch.bool)
        if sequence_ids is None:
            sequence_ids = pixel_values.new_zeros(shape, dtype=torch.long)
        for name, given in (("series_mask", series_mask), ("sequence_ids", sequence_ids)):
            if given.shape != shape:
                raise ValueError(f"expected {name} of shape {tuple(shape)}, got {tuple(given.shape)}")
        return series_mask.bool(), sequence_ids

    def _encode_series(
        self,
        pixel_values: torch.Tensor,
        series_mask: torch.Tensor,
        sequence_ids: torch.Tensor,
        patch_mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Tower over the series that exist; absent ones cost nothing and leave a zero token. Returns (B, S, H)."""
        if patch_mask is not None and patch_mask.shape[:2] != series_mask.shape:
            raise ValueError(
                f"expected patch_mask of shape ({', '.join(map(str, series_mask.shape))}, X/px, Y/py, Z/pz), got "
                f"{tuple(patch_mask.shape)}"
            )
        pixel_values = pixel_values.to(self.vision_model.dtype)
        tokens = self.vision_model(
            pixel_values[series_mask],
            sequence_ids[series_mask],
            patch_mask=None if patch_mask is None else patch_mask[series_mask],
            series_mask=series_mask,
        ).pooler_output
        features = tokens.new_zeros(*series_mask.shape, tokens.shape[-1])
        features[series_mask] = tokens  # (N, H) -> (B, S, H)
        return features


class SelipModel(SelipStudyModel):
    """Series tower, fusion, text tower, and their projections into one space."""

    def __init__(self, config: SelipConfig):
        super().__init__(config)
        # SelipConfig has made configurations of both, whatever form they came in
        vision_config: Any = config.vision_config
        text_config: Any = config.text_config
        vision_width = vision_config.hidden_size
        self.vision_model = SelipVisionModel._from_config(vision_config)
        self.fusion = SelipFusion(config, vision_width, vision_config.num_sequences)
        self.text_model = AutoModel.from_config(text_config)
        if getattr(self.text_model, "pooler", None) is not None:
            # BERT-like towers bring a pooler that no loss reaches: DDP refuses such parameters
            self.text_model.pooler = None
        self.visual_projection = nn.Linear(vision_width, config.projection_dim, bias=False)
        self.text_projection = nn.Linear(text_config.hidden_size, config.projection_dim)
        self.logit_scale = nn.Parameter(torch.empty(1))  # 1-D: sharding refuses scalars
        config.custom_pipelines = custom_pipelines()  # saved with the model, as their file is
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.text_model.set_input_embeddings(value)

    def forward(
        self,
        pixel_values: torch.Tensor,
        input_ids: torch.Tensor | None = None,
        series_mask: torch.Tensor | None = None,
        sequence_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        text_study: torch.Tensor | None = None,
        text_series_mask: torch.Tensor | None = None,
        text_mask: torch.Tensor | None = None,
        similarity: torch.Tensor | None = None,
        affines: torch.Tensor | None = None,
        patch_mask: torch.Tensor | None = None,
        return_loss: bool = False,
        return_dict: bool | None = None,
        text_features: torch.Tensor | None = None,
    ) -> SelipOutput | tuple:
        """
        Args:
            pixel_values: (B, S, X, Y, Z), RAS+, intensities in [0, 1].
            input_ids: int64 (P, L); None where `text_features` are given.
            series_mask: bool (B, S); None: every slot holds a series.
            sequence_ids: int64 (B, S), the MRI sequence of each series, 0 = unknown; None: all unknown.
            attention_mask: (P, L), 1 = a real token; None: all are real.
            text_study: int64 (P,), the study of each text. Given, every text is compared with its own view of its
                study; without it, texts are free queries and the views are the studies.
            text_series_mask: bool (P, S), the series each text speaks of; None: all series of its study.
            text_mask: bool (P,), True = a real text; False rows pad P to a fixed length.
            similarity: (P, P), S between the texts; with it the loss is SeLIP's recommended form, without it CLIP's.
            affines: (B, S, 4, 4), box voxels to scanner mm; handed on to the output.
            patch_mask: bool (B, S, X/px, Y/py, Z/pz), the patches of each series that a ViT reads; None: all.
            return_loss: compute the loss within this batch. Texts and views must pair up: give `text_study`, or one
                text a study in order.
            return_dict: False gives a tuple.
            text_features: (P, W) of `compute_text_features`, in the place of `input_ids`: a frozen text tower need not
                run again for a text it has read.

        Raises:
            ValueError: a shape is wrong, or not one of `input_ids` and `text_features` is given.
        """
        if text_features is None and input_ids is not None:
            text_features = self.compute_text_features(input_ids, attention_mask)
        elif text_features is None or input_ids is not None:
            given = "both" if input_ids is not None else "neither"
            raise ValueError(f"expected either input_ids or text_features (of a frozen text tower), got {given}")
        series_mask, sequence_ids = self._series_defaults(pixel_values, series_mask, sequence_ids)
        series_features = self._encode_series(pixel_values, series_mask, sequence_ids, patch_mask)
        text_embeds = F.normalize(self._project_text_features(text_features), dim=-1)
        image_embeds = self._embed_views(series_features, series_mask, sequence_ids)
        series_embeds = None
        if not self.sees_whole_studies:
            series_embeds = self._embed_each_series(series_features, series_mask, sequence_ids)
        if text_study is None:
            view_embeds = image_embeds
        else:
            view_mask = series_mask[text_study]  # (B, S) -> (P, S)
            if text_series_mask is not None:
                view_mask = view_mask & text_series_mask
            view_features = series_features[text_study]  # (B, S, H) -> (P, S, H)
            if self.sees_whole_studies and not torch.equal(view_mask, series_mask[text_study]):
                # these tokens have seen series that are not in the view, so the tower reads each view anew
                view_features = self._encode_series(
                    pixel_values[text_study],
                    view_mask,
                    sequence_ids[text_study],
                    None if patch_mask is None else patch_mask[text_study],
                )
            view_embeds = self._embed_views(view_features, view_mask, sequence_ids[text_study])

        logits_per_image = scale_of(self.logit_scale) * view_embeds.float() @ text_embeds.float().T
        loss = None
        if return_loss:
            loss = self._loss(view_embeds, text_embeds, text_study, text_mask, similarity)
        output = SelipOutput(
            loss=loss,
            logits_per_image=logits_per_image,
            logits_per_text=logits_per_image.T,
            image_embeds=image_embeds,
            series_embeds=series_embeds,
            text_embeds=text_embeds,
            view_embeds=view_embeds,
            series_features=series_features,
            affines=affines,
        )
        return output.to_tuple() if return_dict is False else output

    def get_image_features(
        self,
        pixel_values: torch.Tensor,
        series_mask: torch.Tensor | None = None,
        sequence_ids: torch.Tensor | None = None,
        patch_mask: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple:
        """Embeds studies. A batch of single series is a batch of studies with S = 1. Arguments as for `forward`.

        Returns:
            `pooler_output` (B, E), unit length; `last_hidden_state` (B, S, H), the series tokens before fusion.
        """
        series_mask, sequence_ids = self._series_defaults(pixel_values, series_mask, sequence_ids)
        series_features = self._encode_series(pixel_values, series_mask, sequence_ids, patch_mask)
        embeds = self._embed_views(series_features, series_mask, sequence_ids)
        output = BaseModelOutputWithPooling(last_hidden_state=series_features, pooler_output=embeds)
        return output.to_tuple() if return_dict is False else output

    def get_text_features(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple:
        """Embeds texts.

        Returns:
            `pooler_output` (P, E), unit length; `last_hidden_state` (P, L, width of the text tower).
        """
        hidden = self._encode_text(input_ids, attention_mask)
        embeds = F.normalize(self._project_text_features(self._pool_text(hidden, attention_mask)), dim=-1)
        output = BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=embeds)
        return output.to_tuple() if return_dict is False else output

    def project_text(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Texts in the shared space before they are scaled to unit length, (P, E)."""
        return self._project_text_features(self.compute_text_features(input_ids, attention_mask))

    def compute_text_features(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """What the text tower makes of texts before their projection, (P, W); keep it where the tower is frozen."""
        return self._pool_text(self._encode_text(input_ids, attention_mask), attention_mask)

    def compute_similarity_maps(
        self,
        pixel_values: torch.Tensor,
        text_embeds: torch.Tensor,
        series_mask: torch.Tensor | None = None,
        sequence_ids: torch.Tensor | None = None,
    ) -> SelipSimilarityMaps:
        """Where each series, as a study of its own, speaks for each text (formula: localization_selip.py).

        A ViT reads the whole box here, as for all dense tasks, so cosines differ from those of the head's patches.
        Takes no gradient; works in inference mode too.

        Args:
            pixel_values: (B, S, X, Y, Z), RAS+, intensities in [0, 1].
            text_embeds: (P, E), unit length, as `get_text_features` gives them.
            series_mask: bool (B, S); None: every slot holds a series.
            sequence_ids: int64 (B, S); None: all unknown.

        Raises:
            ValueError: A shape is wrong, or the token of a series is no sum over positions (pooling `class`).

        Example:
            >>> texts = model.get_text_features(**processor(text=["left frontal lobe shows mass"])).pooler_output
            >>> batch = processor(images={"FLAIR": "flair.nii.gz"})
            >>> given = {name: batch[name] for name in ("pixel_values", "series_mask", "sequence_ids")}
            >>> maps = model.compute_similarity_maps(text_embeds=texts, **given).maps
        """
        series_mask, sequence_ids = self._series_defaults(pixel_values, series_mask, sequence_ids)
        there = pixel_values[series_mask].to(self.vision_model.dtype)
        found = similarity_maps(self.vision_model, self._embed_tokens, there, sequence_ids[series_mask], text_embeds)
        maps, similarities, empty = (_in_slots(each, series_mask) for each in found)
        return SelipSimilarityMaps(maps=maps, similarities=similarities, empty_similarities=empty)

    def compute_attention_rollout(
        self,
        pixel_values: torch.Tensor,
        series_mask: torch.Tensor | None = None,
        sequence_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What the token of each series, taken alone, reads by attention (formula: localization_selip.py).

        Needs a ViT and `model.set_attn_implementation("eager")`. Arguments as for `compute_similarity_maps`.

        Returns:
            (B, S, gx, gy, gz); 0 in empty slots.

        Raises:
            ValueError: A shape is wrong, it is a ResNet, or attention gives no weights.
        """
        series_mask, sequence_ids = self._series_defaults(pixel_values, series_mask, sequence_ids)
        there = pixel_values[series_mask].to(self.vision_model.dtype)
        return _in_slots(attention_rollout(self.vision_model, there, sequence_ids[series_mask]), series_mask)

    @property
    def sees_whole_studies(self) -> bool:
        """Whether a series token depends on the other series of its study (`study_layers`)."""
        return bool(self.vision_model.config.study_layers)

    def _embed_views(
        self, series_features: torch.Tensor, view_mask: torch.Tensor, sequence_ids: torch.Tensor
    ) -> torch.Tensor:
        """(V, S, H) tokens and the series of each view to (V, E)."""
        fused = self.fusion(series_features, view_mask, sequence_ids)
        return F.normalize(self.visual_projection(fused), dim=-1)

    def _embed_tokens(self, series_tokens: torch.Tensor, sequence_ids: torch.Tensor) -> torch.Tensor:
        """(M, H) tokens of series and their sequence ids (M,) to (M, E), each as a study of one series."""
        has_series = torch.ones_like(sequence_ids, dtype=torch.bool)
        return self._embed_views(series_tokens[:, None], has_series[:, None], sequence_ids[:, None])

    def _embed_each_series(
        self, series_features: torch.Tensor, series_mask: torch.Tensor, sequence_ids: torch.Tensor
    ) -> torch.Tensor:
        """(B, S, H) tokens to (B, S, E), each as a study of one series."""
        alone = self._embed_views(
            series_features.flatten(0, 1)[:, None],  # (B, S, H) -> (B*S, 1, H)
            series_mask.flatten()[:, None],
            sequence_ids.flatten()[:, None],
        )
        return alone.unflatten(0, series_mask.shape) * series_mask[..., None].to(alone.dtype)

    def _encode_text(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """(P, L) to (P, L, W)."""
        return self.text_model(input_ids=input_ids, attention_mask=attention_mask, return_dict=True).last_hidden_state

    def _pool_text(self, hidden: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Mean over real tokens: (P, L, W) to (P, W)."""
        weights = torch.ones_like(hidden[..., :1])
        if attention_mask is not None:
            weights = attention_mask[..., None].to(hidden.dtype)  # (P, L) -> (P, L, 1)
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)

    def _project_text_features(self, text_features: torch.Tensor) -> torch.Tensor:
        """(P, W) to (P, E)."""
        return self.text_projection(text_features.to(self.text_projection.weight.dtype))

    def _loss(
        self,
        view_embeds: torch.Tensor,
        text_embeds: torch.Tensor,
        text_study: torch.Tensor | None,
        text_mask: torch.Tensor | None,
        similarity: torch.Tensor | None,
    ) -> torch.Tensor:
        if len(view_embeds) != len(text_embeds):
            raise ValueError(
                f"expected one text a study to compute the loss, got {len(view_embeds)} studies and "
                f"{len(text_embeds)} texts; give text_study to say which study each text speaks of"
            )
        if text_study is None:
            text_study = torch.arange(len(text_embeds), device=text_embeds.device)
        compared = compared_pairs(text_study, text_mask)
        if similarity is None:
            return clip_loss(view_embeds, text_embeds, self.logit_scale, compared)
        return selip_recommended_loss(view_embeds, text_embeds, self.logit_scale, compared, similarity)


def _in_slots(values: torch.Tensor, series_mask: torch.Tensor) -> torch.Tensor:
    """Values (N, ...) of the series that exist in their slots (B, S, ...), 0 elsewhere."""
    slots = values.new_zeros(*series_mask.shape, *values.shape[1:])
    slots[series_mask] = values
    return slots


class SelipHeadModel(SelipStudyModel):
    """What the models with a head share: they take the weights of a pretrained series tower, and may leave them."""

    input_modalities = ("image",)
    head_name: str
    """The part that does not come out of pretraining."""
    is_frozen = False

    def __init__(self, config: SelipConfig):
        super().__init__(config)
        # the configuration of a pretraining checkpoint names the class of its model, which this one is not
        named = getattr(config, "auto_map", None) or {}
        config.auto_map = {name: target for name, target in named.items() if name == "AutoConfig"}

    @property
    def backbone_parts(self) -> list[nn.Module]:
        """What comes out of pretraining."""
        return [part for name, part in self.named_children() if name != self.head_name]

    def freeze_backbone(self) -> None:
        """Train the head alone: the rest gets no gradient, and no statistics from the batches that it sees."""
        self.is_frozen = True
        for part in self.backbone_parts:
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.is_frozen:
            for part in self.backbone_parts:
                part.eval()
        return self


class SelipForVolumeClassification(SelipHeadModel):
    """Labels of studies: series tower, fusion over the series of a study, and a linear layer on the study token.

    `config.problem_type` is `multi_label_classification` (each label is there or not; the default) or
    `single_label_classification` (one of them is).

    Example:
        >>> model = SelipForVolumeClassification.from_pretrained("runs/tiny/best", num_labels=3)
        >>> scores = model(**processor(images={"FLAIR": "flair.nii.gz"})).logits.sigmoid()
    """

    head_name = "classifier"
    # of a pretraining checkpoint: the text side, and the way into the space shared with it
    _keys_to_ignore_on_load_unexpected = [  # noqa: RUF012  (transformers' form)
        r"^text_model\.",
        r"^text_projection\.",
        r"^visual_projection\.",
        r"^logit_scale$",
    ]

    def __init__(self, config: SelipConfig):
        super().__init__(config)
        if config.problem_type not in (None, "multi_label_classification", "single_label_classification"):
            raise ValueError(
                "expected problem_type multi_label_classification or single_label_classification, got "
                f"{config.problem_type!r}"
            )
        vision_config: Any = config.vision_config
        self.vision_model = SelipVisionModel._from_config(vision_config)
        self.fusion = SelipFusion(config, vision_config.hidden_size, vision_config.num_sequences)
        self.classifier = nn.Linear(vision_config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        series_mask: torch.Tensor | None = None,
        sequence_ids: torch.Tensor | None = None,
        patch_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        affines: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> SelipHeadOutput | tuple:
        """
        Args:
            pixel_values: (B, S, X, Y, Z), RAS+, intensities in [0, 1].
            series_mask: bool (B, S); None: every slot holds a series.
            sequence_ids: int64 (B, S), the MRI sequence of each series, 0 = unknown; None: all unknown.
            patch_mask: bool (B, S, X/px, Y/py, Z/pz), the patches of each series that a ViT reads; None: all.
            labels: (B, num_labels) of 0 and 1, or int64 (B,) with `single_label_classification`; -100 where a label
                is not known.
            affines: (B, S, 4, 4); handed on to the output.
            return_dict: False gives a tuple.
        """
        series_mask, sequence_ids = self._series_defaults(pixel_values, series_mask, sequence_ids)
        series_features = self._encode_series(pixel_values, series_mask, sequence_ids, patch_mask)
        logits = self.classifier(self.fusion(series_features, series_mask, sequence_ids))
        loss = None
        if labels is not None:
            is_single = self.config.problem_type == "single_label_classification"
            loss = (single_label_loss if is_single else multi_label_loss)(logits, labels)
        output = SelipHeadOutput(loss=loss, logits=logits, affines=affines)
        return output.to_tuple() if return_dict is False else output


class SelipForVolumeSegmentation(SelipHeadModel):
    """A class for every voxel of the study box, from all series of a study: series tower and decoder.

    Class 0 is the background. The tower reads the whole box: of a ViT all patches, also those that show air.

    Example:
        >>> model = SelipForVolumeSegmentation.from_pretrained("runs/tiny/best", num_labels=2)
        >>> batch = processor(images={"FLAIR": "flair.nii.gz"})
        >>> lesion = model(**batch).logits.softmax(1)[0, 1]
        >>> image = processor.image_processor.to_native(lesion, batch["affines"][0, 0], like="flair.nii.gz")
    """

    head_name = "decoder"
    # of a pretraining checkpoint: what comes after the feature maps
    _keys_to_ignore_on_load_unexpected = [  # noqa: RUF012  (transformers' form)
        r"^text_model\.",
        r"^text_projection\.",
        r"^visual_projection\.",
        r"^logit_scale$",
        r"^fusion\.",
        r"^vision_model\.pooling\.",
    ]

    def __init__(self, config: SelipConfig):
        super().__init__(config)
        vision_config: Any = config.vision_config
        self.vision_model = SelipVisionModel._from_config(vision_config)
        self.vision_model.pooling = None  # no loss would reach it: DDP refuses such parameters
        self.decoder = SelipDecoder(vision_config, config.decoder_width, config.num_labels)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        series_mask: torch.Tensor | None = None,
        sequence_ids: torch.Tensor | None = None,
        patch_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        affines: torch.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> SelipHeadOutput | tuple:
        """
        Args:
            pixel_values: (B, S, X, Y, Z), RAS+, intensities in [0, 1].
            series_mask: bool (B, S); None: every slot holds a series.
            sequence_ids: int64 (B, S), the MRI sequence of each series, 0 = unknown; None: all unknown.
            patch_mask: not read (the decoder needs the whole box); taken, so that what the processor gives can be
                given whole.
            labels: int64 (B, X, Y, Z), the class of each voxel, -100 where it is not known.
            affines: (B, S, 4, 4); handed on to the output.
            return_dict: False gives a tuple.
        """
        series_mask, sequence_ids = self._series_defaults(pixel_values, series_mask, sequence_ids)
        pixel_values = pixel_values.to(self.vision_model.dtype)
        there, ids = pixel_values[series_mask], sequence_ids[series_mask]
        feature_maps = self.vision_model(there, ids, series_mask=series_mask).feature_maps
        volumes = [pixel_values]
        if len(volume_sizes(self.vision_model.config)) > 1:
            seen = self.vision_model.compute_input(there, ids)
            slots = seen.new_zeros(*series_mask.shape, *seen.shape[1:])
            slots[series_mask] = seen  # (N, X', Y', Z') -> (B, S, X', Y', Z')
            volumes.append(slots)
        logits = self.decoder(feature_maps, volumes, series_mask, sequence_ids)
        loss = None if labels is None else segmentation_loss(logits, labels)
        output = SelipHeadOutput(loss=loss, logits=logits, affines=affines)
        return output.to_tuple() if return_dict is False else output


# these classes are copied beside the weights when a model is saved
SelipVisionConfig.register_for_auto_class()
SelipConfig.register_for_auto_class()
SelipVisionModel.register_for_auto_class("AutoModel")
SelipModel.register_for_auto_class("AutoModel")
SelipForVolumeClassification.register_for_auto_class("AutoModelForImageClassification")
SelipForVolumeSegmentation.register_for_auto_class("AutoModelForSemanticSegmentation")
