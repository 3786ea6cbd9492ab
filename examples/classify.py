"""Names the five most probable classes of a photo.

python examples/classify.py BUNDLE PHOTO
"""

from __future__ import annotations

import argparse
import sys

import edgenet
from edgenet.errors import EdgenetError


def main(bundle: str, photo: str) -> None:
    with edgenet.load(bundle) as session:
        print(f"{session.info.engine} on the {session.info.device_used}")
        for guess in session.classify(photo, top=5):
            print(f"{guess.probability:6.1%}  {guess.label}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle")
    parser.add_argument("photo")
    try:
        main(**vars(parser.parse_args()))
    except EdgenetError as error:
        sys.exit(str(error))
