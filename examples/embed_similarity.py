"""Tells how alike two photos are: the cosine between their pooled features.

python examples/embed_similarity.py BUNDLE PHOTO PHOTO
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

import edgenet
from edgenet.errors import EdgenetError


def main(bundle: str, first: str, other: str) -> None:
    with edgenet.load(bundle) as session:
        a, b = session.embed(first), session.embed(other)
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    print(f"cosine {cosine:.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle")
    parser.add_argument("first")
    parser.add_argument("other")
    try:
        main(**vars(parser.parse_args()))
    except EdgenetError as error:
        sys.exit(str(error))
