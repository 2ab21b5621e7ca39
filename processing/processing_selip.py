"""Processor of SeLIP: image processor and tokenizer behind one call."""

from typing import Any

from transformers import BatchFeature
from transformers.processing_utils import ProcessorMixin, TextKwargs

from .text_selip import normalize_text


class SelipProcessor(ProcessorMixin):
    """Turn head MRI studies and report texts into the inputs of `SelipModel`.

    Args:
        image_processor: A `SelipImageProcessor`.
        tokenizer: Any Transformers tokenizer.

    Example:
        >>> batch = processor(images={"FLAIR": "flair.nii.gz"}, text=["FLAIR, normal head MRI."])
        >>> outputs = model(**batch)
    """

    def __init__(self, image_processor: Any, tokenizer: Any) -> None:
        super().__init__(image_processor, tokenizer)

    def __call__(
        self,
        images: Any = None,
        text: str | list[str] | None = None,
        *,
        return_tensors: str | None = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Process studies, texts, or both.

        Args:
            images: What `SelipImageProcessor.preprocess` accepts: a volume, a study or a list of studies.
            text: One text or a list of P texts; normalised as in training.
            return_tensors: `"pt"` (also None) or `"np"`.
            **kwargs: Settings of the image processor or options of the tokenizer, told apart by name. Texts are padded
                to the longest and truncated unless told otherwise.

        Returns:
            `BatchFeature` with the fields of the image processor and `input_ids`, `attention_mask` int64 (P, L).

        Raises:
            ValueError: Neither images nor text is given.
            TypeError: An option belongs to neither part, or a text is no string.
        """
        if images is None and text is None:
            raise ValueError("expected images, text or both")
        image_names = set(self.image_processor.valid_kwargs.__annotations__)
        text_names = set(TextKwargs.__annotations__)
        unknown = set(kwargs) - image_names - text_names
        if unknown:
            raise TypeError(f"expected options of the image processor or the tokenizer, got {sorted(unknown)}")
        data = {}
        if text is not None:
            options = {"padding": True, "truncation": True, "return_token_type_ids": False}
            options.update({k: v for k, v in kwargs.items() if k in text_names})
            texts = [text] if isinstance(text, str) else list(text)
            texts = [normalize_text(item) for item in texts]
            data.update(self.tokenizer(texts, return_tensors=return_tensors or "pt", **options))
        if images is not None:
            settings = {k: v for k, v in kwargs.items() if k in image_names}
            data.update(self.image_processor(images, return_tensors=return_tensors, **settings))
        return BatchFeature(data)


SelipProcessor.register_for_auto_class()
