"""Calibration images: those that set ranges and gains, and those held out to measure the result."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from converters.quantization.simulate import Image
from edgenet.sampling import stratified

# One in three of the images that are kept in memory is held out, and as many of the others where
# that makes no more than one in three of all.
_HELD_OUT = 3
FEWEST_TO_SPLIT = 2 * _HELD_OUT
"""Of fewer images none is held out."""
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

    def split(self, kept: int, hold_out: bool = True) -> Split:
        """Splits the images by what they are for.

        Args:
            kept: How many to keep in memory, from all parts of their order, and a third more of
                those that are held out.
            hold_out: Whether to hold some out, if there are `FEWEST_TO_SPLIT` images or more. If
                they show as many scenes, no image of a scene that is held out sets ranges.
        """
        chosen = stratified(self.count, kept)
        scenes = range(self.count) if self.scenes is None else self.scenes
        measured = withheld = frozenset[int]()
        if hold_out and len(chosen) >= FEWEST_TO_SPLIT:
            measured, withheld = _held_out(chosen, scenes)
        in_memory = frozenset(chosen)
        subset, of_subset, held_out = list[Image](), list[int](), list[Image]()
        for place, image in enumerate(self.all()):
            if place in measured:
                held_out.append(image)
            elif place in in_memory:
                subset.append(image)
                of_subset.append(scenes[place])
        setting = (image for place, image in enumerate(self.all()) if place not in withheld)
        return Split(setting, self.count - len(withheld), subset, of_subset, held_out or subset)


def _held_out(
    chosen: Sequence[int], scenes: Sequence[int]
) -> tuple[frozenset[int], frozenset[int]]:
    """The places of the images to measure on, and of all images that therefore set no ranges.

    Where several images show one scene, one scene in three is held out: none of its images sets
    ranges, and those `chosen` of them are measured on. Where there are too few scenes for that,
    single images are held out, though others show the same scenes.
    """
    shown = list(dict.fromkeys(scenes[place] for place in chosen))
    if len(shown) >= FEWEST_TO_SPLIT and len(set(scenes)) < len(scenes):
        of_scenes = frozenset(_one_in_three(shown))
        withheld = frozenset(place for place, scene in enumerate(scenes) if scene in of_scenes)
        return withheld.intersection(chosen), withheld
    measured = _one_in_three(chosen)
    if 2 * len(measured) * _HELD_OUT <= len(scenes):
        others = sorted(frozenset(range(len(scenes))).difference(chosen))
        measured += [others[k] for k in stratified(len(others), len(measured))]
    return frozenset(measured), frozenset(measured)


def _one_in_three(of: Sequence[int]) -> list[int]:
    return [of[k] for k in stratified(len(of), -(-len(of) // _HELD_OUT))]


@dataclass(frozen=True, eq=False)
class Split:
    """Calibration images by what they are for.

    Attributes:
        setting: All that set ranges; to be read once.
        count: How many those are.
        subset: Some of those, in memory, for what takes many passes.
        scenes: The scene of each image of the subset.
        held_out: In memory, to measure on: they set no range, gain or bias. The subset itself where
            none could be held out.
    """

    setting: Iterator[Image]
    count: int
    subset: Sequence[Image]
    scenes: Sequence[int]
    held_out: Sequence[Image]

    def halves(self) -> tuple[Sequence[Image], Sequence[Image]]:
        """The subset in two halves without a common scene; all of it twice if it shows one scene.

        A fit looks better than it is when it is judged on the scenes that it was made on.
        """
        places = {scene: place for place, scene in enumerate(dict.fromkeys(self.scenes))}
        halves: tuple[list[Image], list[Image]] = ([], [])
        for image, scene in zip(self.subset, self.scenes, strict=True):
            halves[places[scene] % 2].append(image)
        return (halves[0], halves[1]) if halves[1] else (self.subset, self.subset)
