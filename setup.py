"""Package metadata and the folder mapping. Tools are configured in pyproject.toml.

The folders of the repository are packages below one import name: `processing/` is `selip.processing`, and so on
(import path = `selip.` + path). The sub-packages of each folder are searched for, never listed by hand, so that a new
one cannot be missing from the wheel while an editable install sees it.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
FOLDERS = ("modeling_selip", "processing", "training", "model_cards")

CORE = [
    "torch>=2.11",
    "transformers>=5.19",  # 5.11 is the first to copy transitive relative imports of custom code; 5.19 is tested
    "datasets>=5.2",  # Nifti feature with embedded bytes
    "accelerate>=1.15",
    "peft>=0.21",
    "safetensors>=0.8",
    "evaluate>=0.4.6",
    "nibabel>=5.4",
    "pillow>=11",  # transformers needs it to load any custom processor
    "pydantic>=2.12",
    "pyyaml>=6",
    "jinja2>=3.1",
    "tqdm>=4.67",
    "scikit-learn>=1.7,!=1.9.0",  # 1.9.0 is refused by nilearn
    "rapidfuzz>=3.14",
    # Installed by the packages above; named because our code imports them.
    "huggingface_hub>=2.0",
    "numpy>=2.0",
    "pyarrow>=21",
    "scipy>=1.16",
    "tokenizers>=0.22",
]

EXTRAS = {
    "simulate": ["nilearn>=0.14"],
    "dicom": ["dcm2niix>=1.0.20250506", "pydicom>=3.0"],
    "structure": ["outlines>=1.3", "llguidance>=1.9"],
    "qlora": ["bitsandbytes>=0.46"],  # CUDA
    "plots": ["matplotlib>=3.10"],
    "search": ["faiss-cpu>=1.15"],
    "space": ["gradio>=6.31"],  # asks for pillow below 13
}
# What the demo, the tests and the checks of this repository need.
EXTRAS["dev"] = [
    *EXTRAS["simulate"],
    *EXTRAS["dicom"],
    *EXTRAS["plots"],
    *EXTRAS["search"],
    *EXTRAS["space"],
    "build>=1.2",
    "hypothesis>=6.150",
    "jsonschema>=4.25",  # the independent reference for the JSON Schema of findings
    "llguidance>=1.9",
    "mypy>=2.0",
    "pandas-stubs",
    "pytest>=9",
    "pytest-cov>=7",
    "ruff>=0.14",
    "setuptools>=80",
    "simpleitk>=2.5",  # the independent reference for resampling
    "tensorboard>=2.20",
    "types-PyYAML",
    "types-tqdm",
]


def version() -> str:
    """Version of the package, read from the one place that states it without importing anything."""
    text = (ROOT / "src/selip/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, flags=re.MULTILINE)
    if found is None:
        raise ValueError('expected a line __version__ = "..." in src/selip/__init__.py, found none')
    return found.group(1)


def packages() -> list[str]:
    """All import packages: the facade, the mapped folders and everything below them."""
    names = ["selip"]
    for folder in FOLDERS:
        names.append(f"selip.{folder}")
        names.extend(f"selip.{folder}.{name}" for name in find_packages(str(ROOT / folder)))
    return names


setup(
    name="selip",
    version=version(),
    description="Language-image pretraining for head MRI: volumes, reports and their findings in one space",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
        "Typing :: Typed",
    ],
    keywords=["MRI", "radiology reports", "contrastive pretraining", "transformers"],
    python_requires=">=3.11",
    install_requires=CORE,
    extras_require=EXTRAS,
    packages=packages(),
    package_dir={"selip": "src/selip", **{f"selip.{folder}": folder for folder in FOLDERS}},
    package_data={
        "": ["*.jinja", "*.json", "*.yaml", "py.typed"],
        "selip.processing": ["lexicon/**/*"],
        "selip.training": ["configs/**/*.yaml"],
        "selip.training.evaluation": ["protocols/*.yaml"],
    },
    entry_points={"console_scripts": ["selip = selip.cli:main"]},
)
