"""Calibration images: which set ranges and gains, and which only tell how good those are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from converters.quantization.simulate import Image

# Of the images that are held, every third is only measured on.
_ASIDE = 3
SPLIT = 2 * _ASIDE
"""Of fewer images none is set aside."""
# Where one image in so many or fewer is held, as many of the others are only measured on, too.
_PLENTY = 3
# Bytes of images that are kept rather than read again: 128 of 580 px and fewer.
_KEPT = 2**27


@dataclass(frozen=True, eq=False)
class Images:
    """Images for a network, in batches of 1; each call of `all` reads them from the start.

    `scenes` has a number for each image, equal for images of the same scene, such as crops of one
    photo; None where no two are known to be.
    """

    all: Callable[[], Iterator[Image]]
    count: int
    scenes: Sequence[int] | None = None

    def kept(self) -> Images:
        """The same images, kept in memory after the first reading where they take little."""
        kept: list[Image] | None = None

        def images() -> Iterator[Image]:
            nonlocal kept
            if kept is not None:
                yield from kept
                return
            read: list[Image] = []
            for image in self.all():
                if image.nbytes * self.count <= _KEPT:
                    read.append(image)
                yield image
            if len(read) == self.count:
                kept = read

        return replace(self, all=images)

    def batches(self, size: int) -> Iterator[Image]:
        """All of them, `size` at a time, the last batch perhaps smaller."""
        images = self.all()
        while held := list(islice(images, size)):
            yield np.concatenate(held)

    def without(self, places: Collection[int]) -> Images:
        """All but those at some places."""
        left = frozenset(places)

        def images() -> Iterator[Image]:
            return (image for place, image in enumerate(self.all()) if place not in left)

        scenes = None
        if self.scenes is not None:
            scenes = [scene for place, scene in enumerate(self.scenes) if place not in left]
        return Images(images, self.count - len(left), scenes)

    def split(self, held: int, aside: bool = True) -> Split:
        """Splits the images by what they are for.

        Args:
            held: How many to keep in memory, evenly spaced; up to twice as many may be.
            aside: Whether to set some aside to measure on, if there are `SPLIT` images or more. No
                other image of their scenes sets ranges, unless there are but a handful of scenes.
        """
        step = max(self.count // held, 1)
        chosen = range(0, self.count, step)
        scenes = range(self.count) if self.scenes is None else self.scenes
        measured = withheld = frozenset[int]()
        if aside and len(chosen) >= SPLIT:
            measured, withheld = _set_aside(chosen, scenes)
        few, of_few, apart = list[Image](), list[int](), list[Image]()
        for place, image in enumerate(self.all()):
            if place in measured:
                apart.append(image)
            elif place in chosen and place not in withheld:
                few.append(image)
                of_few.append(scenes[place])
        others = (image for place, image in enumerate(self.all()) if place not in withheld)
        return Split(few, of_few, apart or few, others, self.count - len(withheld))


def _set_aside(chosen: range, scenes: Sequence[int]) -> tuple[frozenset[int], frozenset[int]]:
    """Of images by place, those to measure on, and those that therefore set nothing.

    Of scenes that are shown more than once, all images of every third are withheld, and the chosen
    of them measured on; of a handful of scenes, images are set aside though others show the same.
    """
    shown = list(dict.fromkeys(scenes[place] for place in chosen))
    if len(shown) >= SPLIT and len(set(scenes)) < len(scenes):
        aside = set(shown[::_ASIDE])
        withheld = frozenset(place for place, scene in enumerate(scenes) if scene in aside)
        return withheld.intersection(chosen), withheld
    measured = set(chosen[::_ASIDE])
    if chosen.step >= _PLENTY:
        period = chosen.step * _ASIDE
        measured.update(range(period // 2, len(scenes), period))
    return frozenset(measured), frozenset(measured)


@dataclass(frozen=True, eq=False)
class Split:
    """Calibration images by what they are for.

    Attributes:
        few: In memory, for what takes many passes.
        scenes: The scene of each of the few.
        aside: In memory, to measure on: they set no range, gain or bias. The few where none could
            be set aside.
        others: All that set ranges, the few among them; read once.
        count: How many `others` are.
    """

    few: Sequence[Image]
    scenes: Sequence[int]
    aside: Sequence[Image]
    others: Iterator[Image]
    count: int

    def apart(self) -> tuple[Sequence[Image], Sequence[Image]]:
        """The few in two halves without a common scene; all of them twice where there is one scene.

        A fit looks better than it is when it is judged on the scenes that it was made on.
        """
        places = {scene: place for place, scene in enumerate(dict.fromkeys(self.scenes))}
        halves: tuple[list[Image], list[Image]] = ([], [])
        for image, scene in zip(self.few, self.scenes, strict=True):
            halves[places[scene] % 2].append(image)
        return (halves[0], halves[1]) if halves[1] else (self.few, self.few)
