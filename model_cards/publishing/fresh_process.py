"""Use a checkpoint in a process that cannot import selip: what a user of a published checkpoint does.

    python -I fresh_process.py REQUEST.json ANSWER.json

A request holds `task` and `folder` (of the checkpoint). For `rank` also `volume` (file), `sequence` and `texts`; the
answer adds `cosines`, one for each text. For `reproduce` also `inputs` (a reference file, see `reference.py`),
`outputs` (file to write) and `base` (of an adapter, or null); the answer adds `loaded`, by class what is wrong with
it, "" for nothing. `isolation.py` starts this file in a process of its own; `reference.py` takes the functions that
compute outputs, so that both processes compute the same.
"""

import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ADAPTER_PREFIX = "base_model.model."
MOST_VALUES = 4096  # of one output that are kept


def forbid_selip() -> None:
    """Make `import selip` fail from now on in this process, and check that it does.

    Raises:
        RuntimeError: It does not fail.
    """
    sys.modules["selip"] = None  # type: ignore[assignment]  # documented: None stops an import
    try:
        import selip  # noqa: F401
    except ModuleNotFoundError:
        return
    raise RuntimeError("expected `import selip` to fail in this process, it did not")


def rank_texts(checkpoint: str, volume: str, sequence: str, texts: list[str]) -> list[float]:
    """Cosine of a volume with each text, by the code that ships with the checkpoint."""
    import torch
    from transformers import AutoModel, AutoProcessor

    model = AutoModel.from_pretrained(checkpoint, trust_remote_code=True).eval()
    processor = AutoProcessor.from_pretrained(checkpoint, trust_remote_code=True)
    batch = processor(images={sequence: volume}, text=texts, return_tensors="pt")
    with torch.inference_mode():
        output = model(**batch)
    return (output.image_embeds @ output.text_embeds.T)[0].tolist()  # (1, E) @ (E, P) -> (P,)


def auto_classes(folder: Path) -> list[str]:
    """Names of the Auto classes that the JSON files of a folder map to code, wherever `auto_map` stands in them."""
    found: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            found.update(value.get("auto_map") or {})
            for item in value.values():
                walk(item)

    for path in sorted(folder.glob("*config.json")):
        walk(json.loads(path.read_text(encoding="utf-8")))
    return sorted(found)


def pipeline_tasks(folder: Path) -> list[str]:
    """Tasks of the pipelines that ship with a checkpoint."""
    return sorted(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("custom_pipelines") or {})


def read_reference(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors of a reference file, and what it says of them."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["about"])  # noqa: SIM118


def outputs_of(parts: Mapping[str, Any], tensors: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """What a model makes of the input of a reference file; of large outputs evenly spaced values.

    Args:
        parts: `model`, and `processor` (volumes and texts), `image_processor` (volumes) or `tokenizer` (texts).
        tensors: `volume` (X, Y, Z) and `affine` (4, 4) where the model takes volumes.
        about: `sequence` of the volume, and `texts`.
    """
    import torch

    model, texts = parts["model"].eval(), about["texts"]
    with torch.inference_mode():
        if "tokenizer" in parts:
            output = {"logits": model(**parts["tokenizer"](texts[0], return_tensors="pt")).logits[:, -1]}
        else:
            study = {about["sequence"]: (tensors["volume"].numpy(), tensors["affine"].numpy())}
            if "processor" in parts:
                found = model(**parts["processor"](images=study, text=texts, return_tensors="pt"))
                names = ("image_embeds", "text_embeds", "logits_per_image")
                output = {name: getattr(found, name) for name in names}
            else:
                output = {"logits": model(**parts["image_processor"](study, return_tensors="pt")).logits}
    return {name: _spaced(value) for name, value in output.items()}


def _spaced(value: Any) -> Any:
    """At most `MOST_VALUES` values of a tensor, in their order."""
    flat = value.float().flatten()
    return flat[:: max(1, -(-flat.numel() // MOST_VALUES))].contiguous().clone()


def load_all(folder: str, base: str | None) -> Iterator[tuple[str, Any, str]]:
    """Load every class that a folder offers: (name, what was loaded or None, what is wrong or "")."""
    if (Path(folder) / "adapter_config.json").is_file():
        yield from _load_adapter(folder, base)
        return
    names = auto_classes(Path(folder))
    for name in names or ["AutoModelForCausalLM", "AutoTokenizer"]:
        try:
            part, problem = _load(name, folder, own_code=bool(names))
        except Exception as error:
            part, problem = None, f"{type(error).__name__}: {_one_line(error)}"
        yield name, part, problem


def _load(name: str, folder: str, *, own_code: bool) -> tuple[Any, str]:
    import transformers

    auto = getattr(transformers, name)
    if not name.startswith("AutoModel"):
        part, problem = auto.from_pretrained(folder, trust_remote_code=own_code), ""
    else:
        part, info = auto.from_pretrained(folder, trust_remote_code=own_code, output_loading_info=True)
        problem = _key_problem(part, Path(folder), info)
    if own_code and not type(part).__module__.startswith("transformers_modules."):
        problem = f"expected a class of the folder, got {type(part).__module__}.{type(part).__name__}"
    return part, problem


def _key_problem(model: Any, folder: Path, info: Mapping[str, Any]) -> str:
    """What differs between the weights of a model and those in its files, names and shapes, "" for nothing."""
    found = {key: list(info[key]) for key in ("missing_keys", "unexpected_keys", "mismatched_keys") if info.get(key)}
    if found:
        return "; ".join(f"{key.replace('_', ' ')}: {_few(values)}" for key, values in found.items())
    # again without the lists of keys that a class tells the loader to pass over
    in_files = _shapes(sorted(folder.glob("*.safetensors")))
    own = {name: list(value.shape) for name, value in model.state_dict().items()}
    tied = set(getattr(model, "all_tied_weights_keys", {}))
    return _difference(in_files, {k: v for k, v in own.items() if k not in tied or k in in_files})


def _difference(in_files: Mapping[str, list[int]], expected: Mapping[str, list[int]]) -> str:
    missing, extra = sorted(expected.keys() - in_files.keys()), sorted(in_files.keys() - expected.keys())
    other = sorted(name for name in expected.keys() & in_files.keys() if expected[name] != in_files[name])
    parts = {"missing": missing, "not of this model": extra, "of another shape": other}
    return "; ".join(f"{len(names)} weights {what}: {_few(names)}" for what, names in parts.items() if names)


def _shapes(files: list[Path]) -> dict[str, list[int]]:
    from safetensors import safe_open

    shapes: dict[str, list[int]] = {}
    for path in files:
        if path.name == "reference_outputs.safetensors":
            continue
        with safe_open(str(path), framework="pt") as file:
            shapes |= {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return shapes


def _load_adapter(folder: str, base: str | None) -> Iterator[tuple[str, Any, str]]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        named = json.loads((Path(folder) / "adapter_config.json").read_text(encoding="utf-8"))
        model = AutoModelForCausalLM.from_pretrained(base or named["base_model_name_or_path"])
        model.load_adapter(folder)
        # Not `get_adapter_state_dict`, which asks the Hub about the vocabulary of the base.
        own = {
            name.replace(".default.", "."): list(value.shape)
            for name, value in model.state_dict().items()
            if ".default." in name
        }
        in_file = _shapes([Path(folder) / "adapter_model.safetensors"])
        problem = _difference({name.removeprefix(ADAPTER_PREFIX): shape for name, shape in in_file.items()}, own)
    except Exception as error:
        model, problem = None, f"{type(error).__name__}: {_one_line(error)}"
    yield "AutoModelForCausalLM", model, problem
    try:
        yield "AutoTokenizer", AutoTokenizer.from_pretrained(folder), ""
    except Exception as error:
        yield "AutoTokenizer", None, f"{type(error).__name__}: {_one_line(error)}"


def parts_of(loaded: Mapping[str, Any]) -> dict[str, Any]:
    """Model and what prepares its input, out of what was loaded by class."""
    model = next((part for name, part in loaded.items() if name.startswith("AutoModel") and part is not None), None)
    if model is None:
        return {}
    kinds = {"AutoProcessor": "processor", "AutoImageProcessor": "image_processor", "AutoTokenizer": "tokenizer"}
    found = {kind: loaded[name] for name, kind in kinds.items() if loaded.get(name) is not None}
    return {"model": model, **found} if found else {}


def run_pipelines(folder: str, tensors: Mapping[str, Any], about: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Run every pipeline of a folder on the input of a reference file: (task, answer or None, what is wrong)."""
    from transformers import pipeline

    study = {about["sequence"]: (tensors["volume"].numpy(), tensors["affine"].numpy())}
    for task in pipeline_tasks(Path(folder)):
        try:
            pipe = pipeline(task, model=folder, trust_remote_code=True)
            labels = {"candidate_labels": about["texts"]} if "classification" in task else {}
            answer = pipe(study, **labels)
        except Exception as error:
            yield task, None, f"{type(error).__name__}: {_one_line(error)}"
            continue
        yield task, answer, ""


def reproduce(request: dict[str, Any]) -> dict[str, str]:
    """Load every class of a folder, and write what its model makes of the input of its reference file."""
    from safetensors.torch import save_file

    tensors, about = read_reference(Path(request["inputs"]))
    loaded, problems = {}, {}
    for name, part, problem in load_all(request["folder"], request["base"]):
        loaded[name], problems[name] = part, problem
    parts = parts_of(loaded)
    if parts:
        outputs = outputs_of(parts, tensors, about)
        if "processor" in parts:
            for task, answer, problem in run_pipelines(request["folder"], tensors, about):
                problems[task] = problem or _pipeline_problem(answer, outputs)
        save_file(outputs, request["outputs"])
    return problems


def _pipeline_problem(answer: Any, outputs: Mapping[str, Any]) -> str:
    """Whether an embedding of a pipeline is that of the model; of other answers it is enough that they came."""
    import torch

    if not isinstance(answer, dict) or "study" not in answer:
        return ""
    found = torch.as_tensor(answer["study"], dtype=torch.float32)
    difference = float((found - outputs["image_embeds"]).abs().max())
    return "" if difference < 1e-4 else f"its embedding differs from that of the model by up to {difference:.2g}"


def _few(names: list[Any]) -> str:
    shown = ", ".join(str(name) for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]


def main(request_file: Path, answer_file: Path) -> None:
    """Answer one request."""
    request: dict[str, Any] = json.loads(request_file.read_text(encoding="utf-8"))
    if request["task"] == "rank":
        keys = ("folder", "volume", "sequence", "texts")
        answer: dict[str, Any] = {"cosines": rank_texts(*(request[key] for key in keys))}
    else:
        warnings.simplefilter("ignore")
        answer = {"loaded": reproduce(request)}
    loaded = sorted(name for name in sys.modules if name.startswith("selip."))
    if loaded:
        raise RuntimeError(f"expected no module of selip in this process, got {', '.join(loaded)}")
    answer_file.write_text(json.dumps(request | answer, indent=1), encoding="utf-8")


if __name__ == "__main__":
    forbid_selip()
    main(Path(sys.argv[1]), Path(sys.argv[2]))
