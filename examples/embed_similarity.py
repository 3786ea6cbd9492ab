"""Tells how alike two photos are: the cosine between their pooled features.

python examples/embed_similarity.py BUNDLE PHOTO PHOTO
"""

from __future__ import annotations

import sys

import numpy as np

import edgenet


def main(bundle: str, first: str, second: str) -> None:
    with edgenet.load(bundle) as session:
        one, other = session.embed(first), session.embed(second)
    cosine = one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
    print(f"cosine {cosine:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
