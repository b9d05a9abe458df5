"""Finds duplicate images among many, even re-encoded or resized, without comparing all pairs.

The thumbnail of an image gives a 64-bit fingerprint (pHash, Zauner 2010: signs of low DCT
frequencies). Images whose fingerprints differ in at most MAX_BITS bits are candidates, and a
comparison of their thumbnails decides. Candidates come from multi-index hashing (Norouzi et al.,
2012, arXiv:1307.2982): cut two such fingerprints into MAX_BITS + 1 bands, and at least one band is
equal, so only images with an equal band are compared. Memory: 1 kB per image.
"""

import itertools
from collections.abc import Iterator

import cv2
import numpy as np

SIDE = 32
MAX_BITS = 6

# Measured on CamVid's 468 frames. The same frame as JPEG of quality 30 differs by at most 7 grey
# levels in any cell and 0.8 on average at 240x320, by 10 and 1.45 at 120x160 (at most 6 bits).
# Frames smaller than that have too few pixels a cell to average out the noise. The two most similar
# of different frames, 0.07 s apart in a slow drive, differ by 25 and 1.8.
MAX_DIFFERENCE = 18
MEAN_DIFFERENCE = 1.5


def thumbnail(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (SIDE, SIDE) uint8 grey; each cell is the mean of its pixels."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def fingerprints(thumbnails: np.ndarray) -> np.ndarray:
    """(N, SIDE, SIDE) uint8 -> (N,) uint64.

    Row and column 0 of the DCT are left out, unlike in the source: they encode "bright above, dark
    below", which holds for every road.
    """
    bits = np.zeros((len(thumbnails), 64), bool)
    for row, small in zip(bits, thumbnails, strict=True):
        low = cv2.dct(small.astype(np.float32))[1:9, 1:9].ravel()
        row[:] = low > np.median(low)
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def same_image(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether thumbnails (..., SIDE, SIDE) uint8 show the same image: (...) bool."""
    difference = np.abs(a.astype(np.int16) - b)
    close = difference.max(axis=(-2, -1)) <= MAX_DIFFERENCE
    return close & (difference.mean(axis=(-2, -1)) <= MEAN_DIFFERENCE)


def groups(thumbnails: np.ndarray) -> list[list[int]]:
    """Returns lists of indices, ascending, of thumbnails that show the same image.

    thumbnails: (N, SIDE, SIDE) uint8. Images without a duplicate are in no list.
    """
    parent = list(range(len(thumbnails)))  # A union-find forest.
    for i, j in _duplicate_pairs(thumbnails):
        parent[_root(parent, j)] = _root(parent, i)
    members: dict[int, list[int]] = {}
    for i in range(len(parent)):
        members.setdefault(_root(parent, i), []).append(i)
    return [group for group in members.values() if len(group) > 1]


def _root(parent: list[int], i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


def _duplicate_pairs(thumbnails: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yields index pairs of duplicates, enough of them to connect every group."""
    hashes = fingerprints(thumbnails)
    # Images of equal fingerprint come first, and only one of each kind goes on: otherwise ten
    # thousand black frames would be 50 million pairs.
    kept = []
    for equal in _equal_runs(hashes):
        while equal.size:
            first = equal[0]
            same = same_image(thumbnails[first], thumbnails[equal])
            yield from ((int(first), int(other)) for other in equal[same][1:])
            kept.append(first)
            equal = equal[~same]
    for i, j in similar_pairs(hashes[kept]):
        if same_image(thumbnails[kept[i]], thumbnails[kept[j]]):
            yield int(kept[i]), int(kept[j])


def similar_pairs(hashes: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yields every pair of indices whose 64-bit hashes differ in at most MAX_BITS bits.

    hashes: (N,) uint64. A pair comes once for each of its equal bands.
    """
    edges = np.linspace(0, 64, MAX_BITS + 2).astype(int)
    for low, high in itertools.pairwise(edges):
        bands = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        for equal in _equal_runs(bands):
            for place, i in enumerate(equal):
                others = equal[place + 1 :]
                near = np.bitwise_count(hashes[i] ^ hashes[others]) <= MAX_BITS
                yield from ((int(i), int(j)) for j in others[near])


def _equal_runs(values: np.ndarray) -> list[np.ndarray]:
    """Groups the indices of equal values: one ascending array of indices for each value."""
    order = np.argsort(values, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(values[order])) + 1)
