"""Names the five most probable classes of a photo.

python examples/classify.py BUNDLE PHOTO
"""

from __future__ import annotations

import sys

import edgenet


def main(bundle: str, photo: str) -> None:
    with edgenet.load(bundle) as session:
        print(f"{session.info.engine} on the {session.info.device_used}")
        for guess in session.classify(photo, top=5):
            print(f"{guess.probability:6.1%}  {guess.label}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/classify.py BUNDLE PHOTO")
    main(*sys.argv[1:])
