"""Finds the same picture twice among many, also when re-encoded or resized, without comparing all.

A picture's thumbnail gives a 64-bit fingerprint (the pHash of Zauner, 2010: signs of low DCT
frequencies). Pictures whose fingerprints differ in at most MAX_BITS bits are candidates, and their
thumbnails decide. The candidates come from multi-index hashing (Norouzi et al., 2012,
arXiv:1307.2982): of MAX_BITS + 1 bands at least one must be equal, so only pictures that share a
band are compared. 1 kB per picture.
"""

import itertools

import cv2
import numpy as np

SIDE = 32
MAX_BITS = 6

# Measured on CamVid's 468 frames. The same frame as JPEG of quality 30 differs by at most 7 grey
# levels in any cell and 0.8 on average at 240x320, 10 and 1.45 at 120x160 (6 bits in the worst
# case); frames below that are too small for their noise to average out. The two most alike of
# different frames, 0.07 s apart in a slow drive: 25 and 1.8.
MAX_DIFFERENCE = 18
MEAN_DIFFERENCE = 1.5


def thumbnail(image):
    """(H, W, 3) uint8 RGB -> (SIDE, SIDE) uint8 grey, each cell the mean of what it covers."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def fingerprints(thumbnails):
    """(N, SIDE, SIDE) uint8 -> (N,) uint64.

    Row and column 0 of the DCT are left out, unlike in the source: they say "bright above, dark
    below", which is true of every road.
    """
    bits = np.zeros((len(thumbnails), 64), bool)
    for row, small in zip(bits, thumbnails, strict=True):
        low = cv2.dct(small.astype(np.float32))[1:9, 1:9].ravel()
        row[:] = low > np.median(low)
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def groups(thumbnails):
    """Returns lists of indices, ascending, of thumbnails that show the same picture.

    thumbnails: (N, SIDE, SIDE) uint8. Pictures without a double are in no list.
    """
    hashes = fingerprints(thumbnails)
    parent = np.arange(len(hashes))
    for i, j in _links(hashes, thumbnails):
        parent[_root(parent, j)] = _root(parent, i)
    found = {}
    for i in range(len(parent)):
        found.setdefault(int(_root(parent, i)), []).append(i)
    return [group for group in found.values() if len(group) > 1]


def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


def _links(hashes, thumbnails):
    """Yields index pairs of the same picture, enough of them to connect every group."""
    # First those of equal fingerprint, all to one of them: ten thousand black frames are one.
    kept = []
    order = np.argsort(hashes, kind="stable")
    for rest in np.split(order, np.flatnonzero(np.diff(hashes[order])) + 1):
        while rest.size:
            same = same_picture(thumbnails[rest[0]], thumbnails[rest])
            yield from ((rest[0], j) for j in rest[same][1:])
            kept.append(rest[0])
            rest = rest[~same]
    kept = np.array(kept, np.int64)
    for i, j in _near(hashes[kept]):
        for a, b in zip(kept[i], kept[j], strict=True):
            if same_picture(thumbnails[a], thumbnails[b]):
                yield a, b


def same_picture(a, b):
    """Whether two thumbnails, (..., SIDE, SIDE) uint8, agree: (...) bool."""
    difference = np.abs(a.astype(np.int16) - b)
    close = difference.max(axis=(-2, -1)) <= MAX_DIFFERENCE
    return close & (difference.mean(axis=(-2, -1)) <= MEAN_DIFFERENCE)


def _near(hashes):
    """Yields arrays (i, j) of pairs whose hashes differ in at most MAX_BITS bits, once per band."""
    edges = np.linspace(0, 64, MAX_BITS + 2).astype(int)
    for low, high in itertools.pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(band, kind="stable")
        band = band[order]
        # Equal bands lie side by side: pair each place with the next, the second next, ..., and
        # drop the places whose run of equal bands has ended.
        place, step = np.arange(len(band) - 1), 1
        while place.size:
            place = place[band[place] == band[place + step]]
            i, j = order[place], order[place + step]
            near = np.bitwise_count(hashes[i] ^ hashes[j]) <= MAX_BITS
            yield i[near], j[near]
            step += 1
            place = place[place + step < len(band)]
