"""How similar two texts are to a text encoder: the cosine of their embeddings, less the chance level.

    S(T, U) = max(0, (cos(T, U) - chance) / (1 - chance))

The encoder is any that `AutoModel` and `AutoTokenizer` load, by folder or Hub id; a text is the mean of its last
hidden states over its tokens, padding left out. Of a SeLIP checkpoint it is the text embedding of the shared space.
`chance` is the mean cosine of texts of two studies: what an encoder gives to any two reports says nothing.

Embeddings are computed once and kept in a file, by hash of the text, under the fingerprint of the encoder.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file, save_file
from tqdm import tqdm
from transformers import AutoConfig, AutoModel, AutoTokenizer

from selip import register
from selip.modeling_selip.modeling_selip import SelipModel

Matrix = npt.NDArray[np.float32]

_CHUNK = 64  # texts encoded at once: always the same ones together, so that a resumed run finds the same bits
_CHUNKS_BETWEEN_SAVES = 64
_MOST_TOKENS = 512
_GRID = np.float32(
    2**16
)  # similarity is rounded to multiples of its inverse: sums of products differ in their last bits


class TextEncoder:
    """A text encoder and its tokenizer, on the GPU if there is one, in float32.

    Attributes:
        name: folder or Hub id.
        max_tokens: length that texts are cut to.
        fingerprint: sha256 over all that an embedding depends on: weights, vocabulary and `max_tokens`.
    """

    def __init__(self, name: str) -> None:
        """
        Args:
            name: folder or Hub id. The network is used only for an id that is in no local cache.
        """
        register()  # a SeLIP checkpoint is an encoder too
        self.name = name
        config = AutoConfig.from_pretrained(name)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = AutoTokenizer.from_pretrained(name, config=config)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model = AutoModel.from_pretrained(name, config=config, dtype=torch.float32).eval().to(self.device)
        positions = config.get_text_config().to_dict().get("max_position_embeddings", _MOST_TOKENS)
        self.max_tokens = min(self.tokenizer.model_max_length, positions, _MOST_TOKENS)
        self.fingerprint = self._fingerprint()

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Matrix:
        """Embeddings of unit length, (len(texts), W)."""
        encoded = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        ).to(self.device)
        ids, mask = encoded["input_ids"], encoded["attention_mask"]
        if isinstance(self.model, SelipModel):
            features: Any = self.model.get_text_features(ids, mask)
            pooled = features.pooler_output
        else:
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state  # (n, L, W)
            weights = mask[..., None].to(hidden.dtype)
            pooled = (hidden * weights).sum(1) / weights.sum(1)  # (n, L, W) -> (n, W)
        return torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        tokenizer = self.tokenizer
        words = (
            tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else json.dumps(sorted(tokenizer.get_vocab()))
        )
        digest.update(f"{words}\n{self.max_tokens}".encode())
        return digest.hexdigest()


class EmbeddingSimilarity:
    """The similarity of texts that have been embedded."""

    def __init__(self, embeddings: Mapping[str, Matrix], chance: float) -> None:
        """
        Args:
            embeddings: unit vector (W,) of each text.
            chance: mean cosine of texts of two studies, below 1.
        """
        self.rows = {text: row for row, text in enumerate(embeddings)}
        self.vectors = np.stack(list(embeddings.values()))  # (n, W)
        self.chance = np.float32(chance)

    def __call__(self, texts: Sequence[str], others: Sequence[str] | None = None) -> Matrix:
        """S of the module's formula, (len(texts), len(others)) in [0, 1]; without others of all with one another.

        Raises:
            ValueError: a text that was not embedded.
        """
        scaled = (self.cosines(texts, others) - self.chance) / (1 - self.chance)
        return np.rint(np.clip(scaled, 0.0, 1.0) * _GRID) / _GRID

    def cosines(self, texts: Sequence[str], others: Sequence[str] | None = None) -> Matrix:
        """Cosines, (len(texts), len(others)); exactly 1 of a text with itself, symmetric without others."""
        one = self._places(texts)
        other = one if others is None else self._places(others)
        found: Matrix = self.vectors[one] @ self.vectors[other].T  # (n, W) @ (W, m) -> (n, m)
        found[one[:, None] == other[None, :]] = 1.0
        return (found + found.T) * np.float32(0.5) if others is None else found

    def _places(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        unknown = sum(text not in self.rows for text in texts)
        if unknown:
            raise ValueError(f"expected texts that were embedded ({len(self.rows)} texts), got {unknown} others")
        return np.array([self.rows[text] for text in texts], dtype=np.int64)


def mean_cosine(embeddings: Mapping[str, Matrix], texts: Iterable[str]) -> float:
    """Mean cosine over all pairs of different texts; 0 for fewer than two."""
    vectors = np.stack([embeddings[text] for text in dict.fromkeys(texts)]).astype(np.float64)
    n = len(vectors)
    if n < 2:
        return 0.0
    # the sum over all pairs is the square of the sum, less each with itself
    return float((np.square(vectors.sum(axis=0)).sum() - np.square(vectors).sum()) / (n * (n - 1)))


def embed_texts(texts: Iterable[str], encoder: TextEncoder, folder: Path, *, writes: bool = True) -> dict[str, Matrix]:
    """Unit vectors of texts, from the file of earlier ones in `folder` as far as it has them.

    The file is `text_embeddings-FINGERPRINT.safetensors`. It is written now and then, so that a call that was cut goes
    on where it stopped, with the same bits.

    Args:
        texts: any; repeated ones are embedded once.
        folder: where the file is; made where it does not exist.
        writes: False reads the file and leaves it as it is.
    """
    path = folder / f"text_embeddings-{encoder.fingerprint[:16]}.safetensors"
    known = _load(path)
    unique = sorted(set(texts), key=lambda text: (len(text), text))  # texts of a length together: little padding
    keys = [hashlib.sha256(text.encode()).digest() for text in unique]
    starts = [
        start for start in range(0, len(unique), _CHUNK) if any(k not in known for k in keys[start : start + _CHUNK])
    ]
    for count, start in enumerate(tqdm(starts, desc="embed texts", unit="batch", disable=None)):
        part = slice(start, start + _CHUNK)
        for key, vector in zip(keys[part], encoder(unique[part]), strict=True):
            known.setdefault(key, vector)
        if writes and (count + 1) % _CHUNKS_BETWEEN_SAVES == 0:
            _save(known, path)
    if writes and starts:
        _save(known, path)
    return dict(zip(unique, (known[key] for key in keys), strict=True))


def _load(path: Path) -> dict[bytes, Matrix]:
    if not path.exists():
        return {}
    stored = load_file(path)
    return {key.tobytes(): vector for key, vector in zip(stored["keys"], stored["vectors"], strict=True)}


def _save(known: Mapping[bytes, Matrix], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = sorted(known)
    tensors: dict[str, Any] = {
        "keys": np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), -1),
        "vectors": np.stack([known[key] for key in keys]).astype(np.float32),
    }
    partial = path.with_name(f".{path.name}.partial")
    save_file(tensors, partial)
    os.replace(partial, path)
