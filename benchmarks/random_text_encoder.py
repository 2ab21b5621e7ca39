"""The control of `similarity: embedding`: a text encoder of the shape of a checkpoint's that has learnt nothing.

python benchmarks/random_text_encoder.py runs/tiny/best encoders/random
selip similar data/findings.parquet random.html --encoder encoders/random
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

from selip import SelipModel


def main() -> None:
    """Write the folder of the encoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="folder of a SeLIP checkpoint")
    parser.add_argument("out", type=Path, help="folder of the encoder")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights (default: 0)")
    arguments = parser.parse_args()
    model = SelipModel.from_pretrained(arguments.checkpoint)
    torch.manual_seed(arguments.seed)
    AutoModel.from_config(model.config.text_config).save_pretrained(arguments.out)
    AutoTokenizer.from_pretrained(arguments.checkpoint, config=model.config).save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
