"""Harlow's learning set (Wang et al. 2016, experiment 6): which of two pictures pays is learnt from one look.

The agent stands in the middle of a square room and turns. It has to keep a mark on the wall in the centre of its view
for a while; then two pictures hang to the left and right of where the mark was, and the one that it turns to is chosen.
One picture pays 1 in all trials of an episode, whichever side it hangs on; the other costs 1. The choice is seen
together with its reward; then the pictures vanish, the mark is back, and the next trial begins.

Not as in the paper: the room is MiniWorld's, turns are coarse (three bring a picture to the centre), and an episode has
128 steps instead of 3600. The room is lit as MiniWorld does it; pictures and mark shine, so that no light changes them.
"""

from functools import cache
from typing import ClassVar, NamedTuple

import numpy as np
from numba import njit

from mazes import renderer, textures
from mazes.layout import GAP, ROOM, Layout
from nav_meta.tasks import pictures
from nav_meta.tasks.episodes import EpisodicTask

ACTIONS = ("turn left", "turn right", "stay")
TRIALS = 10
HOLD = 4
"""Steps in a row after which the mark must have been in the centre."""
HOLD_REWARD = 0.2
TURNS = 3
"""Turns from the mark to a picture, and the furthest that one can turn."""
HEADINGS = 2 * TURNS + 1

TURN = np.deg2rad(8)
DISTANCE = (2 * ROOM + GAP) / 2
"""From the agent to the wall, metres."""
PICTURE_SIZE = 1.75
"""Side of a picture on the wall, metres; its middle is at the height of the eyes, as the mark's."""
MARK_SIZE = 0.85

_IN_VIEW = 4
"""Turns at which a picture begins to leave the view of 75 degrees (40x30), for the version with vectors."""
_CODE = 10

_SAMPLES = 8
"""A pixel is the mean of 8 x 8 samples."""
_SHIFT = 6
_CHANNEL_BITS = 21
"""Bits of a colour channel in a packed texel."""
_WEIGHT_BITS = 7
_WEIGHT = (1 << _WEIGHT_BITS) - 1


class _Harlow(EpisodicTask):
    """The trials, however they are shown.

    A perfect player needs 4 + 3 steps for the first trial and 3 + 3 + 3 for each other (the last turn back already
    holds the mark): 88 in all. Random actions complete 0.4 trials in 128 steps.
    """

    variables: ClassVar[tuple[str, ...]] = ("heading", "held", "shown", "trial", "side", "pictures")
    has_answers: ClassVar[bool] = True

    def __init__(
        self,
        batch: int,
        which: str,
        observation_shape: tuple[int, ...],
        steps: int,
        seed: int,
        phases: np.ndarray | None,
    ) -> None:
        self.which = which
        self.heading = np.zeros(batch, np.int64)
        """int64 [B]: turns to the left of the mark, -TURNS to TURNS."""
        self.held = np.zeros(batch, np.int64)
        """int64 [B]: steps in a row that the mark has been in the centre."""
        self.shown = np.zeros(batch, np.bool_)
        """bool [B]: do the pictures hang? They do until the step after the choice."""
        self.trial = np.zeros(batch, np.int64)
        """int64 [B]: choices made so far."""
        self.side = np.ones(batch, np.int64)
        """int64 [B]: 1 where the picture that pays hangs on the left, -1 where on the right."""
        self.pictures = np.zeros((batch, 2), np.int64)
        """int64 [B, 2]: the picture that pays and the other one, numbers within their set."""
        super().__init__(
            batch,
            actions=len(ACTIONS),
            observation_shape=observation_shape,
            episode_steps=steps,
            seed=seed,
            phases=phases,
        )

    def begin(self, rows: np.ndarray, generator: np.random.Generator) -> None:
        """Draw two pictures and face the mark."""
        one = generator.integers(pictures.COUNT, size=len(rows))
        another = (one + generator.integers(1, pictures.COUNT, size=len(rows))) % pictures.COUNT
        self.pictures[rows] = np.stack([one, another], 1)
        self.heading[rows] = 0
        self.held[rows] = 0
        self.shown[rows] = False
        self.trial[rows] = 0

    def pay(self, actions: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Turn; reward what is in the centre then."""
        choosing = self.shown & (np.abs(self.heading) < TURNS)
        fixating = ~choosing & (self.trial < TRIALS)
        self.heading += np.array([1, -1, 0])[actions]
        self.heading.clip(-TURNS, TURNS, out=self.heading)
        chosen = choosing & (np.abs(self.heading) == TURNS)
        self.trial += chosen
        self.held += 1
        self.held[~fixating | (self.heading != 0)] = 0
        hung = self.held == HOLD
        self.held[hung] = 0
        self.side[hung] = generator.choice((-1, 1), hung.sum())
        self.shown[:] = choosing | hung
        return HOLD_REWARD * hung + chosen * np.sign(self.heading * self.side)

    def going_on(self) -> np.ndarray:
        """Return bool [B]: can reward still come?"""
        return super().going_on() & (self.trial < TRIALS)

    def answers(self) -> np.ndarray:
        """Return where the picture that pays hangs, float64 [B, 1]: 1 left, -1 right, 0 while none hangs."""
        return (self.side * self.shown)[:, None].astype(np.float64)

    @property
    def marked(self) -> np.ndarray:
        """Return bool [B]: is the mark on the wall?"""
        return ~self.shown & (self.trial < TRIALS)

    @property
    def hung(self) -> np.ndarray:
        """Return int64 [B, 2]: the pictures on the left and on the right, when there are any."""
        return np.where(self.side[:, None] > 0, self.pictures, self.pictures[:, ::-1])


class Harlow(_Harlow):
    """Seen as pixels, uint8 [B, height, width, 3]."""

    def __init__(
        self,
        batch: int,
        *,
        which: str = "training",
        height: int = 30,
        width: int = 40,
        episode_steps: int = 128,
        seed: int = 0,
        phases: np.ndarray | None = None,
    ) -> None:
        """Begin B episodes.

        Args:
            batch: B.
            which: the set of pictures, one of `pictures.SETS`.
            height: rows of the view; the paper has 84 x 84.
            width: columns of the view.
            episode_steps: steps of an episode.
            seed: of all that is drawn.
            phases: as in `EpisodicTask`.

        Raises:
            ValueError: there is no such set of pictures.
        """
        self._views = _views(height, width)
        self._texels = _texels(which, self._views.side)
        super().__init__(batch, which, (height, width, 3), episode_steps, seed, phases)

    def observe(self, out: np.ndarray) -> None:
        """Draw the room with what hangs on its wall."""
        _draw(self.heading + TURNS, self.marked, self.shown, self.hung, self._texels, *self._views[1:], out)


class HarlowVector(_Harlow):
    """Seen as a vector, float32 [B, 39], for a quick check.

    It is made of the heading's one-hot code [7], whether the mark is on the wall, whether pictures are, and codes [10]
    of the picture to the left, in the centre and to the right, zeros where none is in view. A picture's code is drawn
    from a normal distribution once for ever.
    """

    def __init__(
        self,
        batch: int,
        *,
        which: str = "training",
        episode_steps: int = 128,
        seed: int = 0,
        phases: np.ndarray | None = None,
    ) -> None:
        """Begin B episodes; arguments and errors as for `Harlow`."""
        self._codes = _codes(which)
        super().__init__(batch, which, (HEADINGS + 2 + 3 * _CODE,), episode_steps, seed, phases)

    def observe(self, out: np.ndarray) -> None:
        """Write the codes."""
        rows = np.arange(self.batch)
        out[:] = 0
        out[rows, TURNS + self.heading] = 1
        out[:, HEADINGS] = self.marked
        out[:, HEADINGS + 1] = self.shown
        slots = out[:, HEADINGS + 2 :].reshape(self.batch, 3, _CODE)
        for place, picture in zip((TURNS, -TURNS), self.hung.T, strict=True):
            to_left = place - self.heading
            seen = np.flatnonzero(self.shown & (np.abs(to_left) <= _IN_VIEW))
            slots[seen, 1 - np.sign(to_left[seen])] = self._codes[picture[seen]]
        out[:, HEADINGS + 2 :] = slots.reshape(self.batch, -1)


@cache
def _codes(which: str) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(pictures.number_of(which)))
    return generator.standard_normal((pictures.COUNT, _CODE), np.float32)


class _Views(NamedTuple):
    """What every pixel shows at each heading (from the right to the left), and pictures on the wall as lists.

    Of each heading and picture (first the left one) these are the pixels that show any of it, and for each such pixel
    the texels that it shows with the number of its samples that do.
    """

    side: int
    """Rows and columns to which pictures are reduced, so that a texel is about a pixel."""
    room: np.ndarray
    """uint8 [2, HEADINGS, H, W, 3]: the room without and with the mark."""
    spans: np.ndarray
    """int64 [HEADINGS, 2, 2]: the pixels of a picture, from and to."""
    pixels: np.ndarray
    """uint32 [P]: numbered row by row."""
    grounds: np.ndarray
    """int64 [P]: what the samples beside the picture add up to, packed, with the rounding."""
    starts: np.ndarray
    """int64 [P + 1]: where the texels of a pixel begin."""
    parts: np.ndarray
    """uint32 [K]: a texel, and in the lowest `_WEIGHT_BITS` how many of the pixel's 64 samples show it."""


@cache
def _texels(which: str, side: int) -> np.ndarray:
    """Return a set of pictures as packed texels int64 [COUNT, side * side]."""
    return _pack(np.rint(pictures.reduce(pictures.load(which), side)).reshape(pictures.COUNT, -1, 3))


def _pack(colours: np.ndarray) -> np.ndarray:
    """Return colours [..., 3] as int64 [...]; a weighted sum of packed colours is the packed weighted sum."""
    return colours.astype(np.int64) @ (1 << _CHANNEL_BITS * np.arange(3))


@cache
def _views(height: int, width: int) -> _Views:
    angles = TURN * np.arange(-TURNS, TURNS + 1)
    empty = _room(angles, height, width)
    cross = _cross()
    marked = empty.copy()
    shown = height * PICTURE_SIZE / DISTANCE / (2 * renderer.TAN_HALF_FOV)  # pixels from side to side
    side = next((side for side in (12, 16, 24) if side >= shown), pictures.SIDE)
    spans, pixels, grounds, owners, parts = [], [], [], [], []
    count = 0
    for heading, angle in enumerate(angles):
        background = empty[heading].reshape(-1, 3).astype(np.int64)
        pixel, texel, samples = _project(height, width, angle, 0.0, MARK_SIZE, len(cross))
        sums = background * _SAMPLES**2
        np.add.at(sums, pixel, samples[:, None] * (cross.reshape(-1, 3)[texel] - background[pixel]))
        marked[heading] = ((sums + _SAMPLES**2 // 2) >> _SHIFT).reshape(height, width, 3)
        for place in (TURNS, -TURNS):
            pixel, texel, samples = _project(height, width, angle, -DISTANCE * np.tan(place * TURN), PICTURE_SIZE, side)
            seen, owner = np.unique(pixel, return_inverse=True)
            beside = _SAMPLES**2 - np.bincount(owner, samples, len(seen)).astype(np.int64)
            spans.append((count, count + len(seen)))
            pixels.append(seen)
            grounds.append(_pack(background[seen] * beside[:, None] + _SAMPLES**2 // 2))
            owners.append(count + owner)
            parts.append(texel << _WEIGHT_BITS | samples)
            count += len(seen)
    return _Views(
        side,
        np.stack([empty, marked]),
        np.array(spans).reshape(HEADINGS, 2, 2),
        np.concatenate(pixels).astype(np.uint32),
        np.concatenate(grounds),
        np.searchsorted(np.concatenate(owners), np.arange(count + 1)),
        np.concatenate(parts).astype(np.uint32),
    )


def _room(angles: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the empty room, uint8 [headings, H, W, 3], seen at angles to the left of its northern wall."""
    nothing = np.array([DISTANCE, 1e6, 0.0])  # the goal box, far behind
    count = len(angles)
    layouts = Layout(
        np.ones((count, 3, 3), np.bool_),
        np.full((count, 3, 3), textures.BRICK, np.uint8),
        np.tile(nothing, (count, 1)),
        np.ones((count, 2, 2), np.bool_),
        np.empty((count, 0)),
    )
    # North, since light falls on that wall.
    poses = np.stack([np.full(count, DISTANCE), np.full(count, DISTANCE), np.pi / 2 + angles], 1)
    return renderer.render(layouts, poses, height, width)


def _cross() -> np.ndarray:
    """Return the mark, a red cross on white, int64 [12, 12, 3]."""
    mark = np.full((12, 12, 3), 255)
    arm = (np.arange(12) >= 4) & (np.arange(12) < 8)
    mark[arm[:, None] | arm] = 200, 0, 0
    return mark


def _project(
    height: int, width: int, angle: float, middle: float, size: float, texels: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Say which pixels show what of a square on the wall: pixel, texel and number of samples, int64 [K] by pixel.

    Args:
        height: rows of the view.
        width: columns of the view.
        angle: of the view, to the left of the wall's normal, radians.
        middle: metres to the right from where the normal meets the wall to the square's middle.
        size: its side, metres.
        texels: its rows and columns.
    """
    row, column = np.meshgrid(*(np.arange(_SAMPLES * side) for side in (height, width)), indexing="ij")
    fine = 2 * renderer.TAN_HALF_FOV / height / _SAMPLES
    lateral = (column + 0.5 - _SAMPLES * width / 2) * fine
    slope = (_SAMPLES * height / 2 - row - 0.5) * fine
    # The ray goes `ahead` towards the wall while it goes 1 along the optical axis.
    ahead = np.cos(angle) + lateral * np.sin(angle)
    right = DISTANCE * (lateral * np.cos(angle) - np.sin(angle)) / ahead - middle
    up = DISTANCE * slope / ahead
    u = np.floor((right / size + 0.5) * texels).astype(np.int64)
    v = np.floor((0.5 - up / size) * texels).astype(np.int64)
    hit = (ahead > 0) & (u >= 0) & (u < texels) & (v >= 0) & (v < texels)
    pixel = row // _SAMPLES * width + column // _SAMPLES
    pairs, samples = np.unique((pixel * texels**2 + v * texels + u)[hit], return_counts=True)
    return *np.divmod(pairs, texels**2), samples


@njit(nogil=True, cache=True)
def _draw(heading, marked, shown, hung, texels, room, spans, pixels, grounds, starts, parts, out):
    for b in range(len(out)):
        frame = out[b].reshape(-1, 3)
        background = room[np.int64(marked[b]), heading[b]].reshape(-1)
        flat = frame.reshape(-1)
        for n in range(len(flat)):  # numba copies whole arrays element by element, but this at once
            flat[n] = background[n]
        if not shown[b]:
            continue
        for k in range(2):
            picture = texels[hung[b, k]]
            first, end = spans[heading[b], k]
            # Unsigned indices spare the check for negative ones.
            for n in range(np.uint64(first), np.uint64(end)):
                total = grounds[n]
                for m in range(np.uint64(starts[n]), np.uint64(starts[n + np.uint64(1)])):
                    part = parts[m]
                    total += np.int64(part & _WEIGHT) * picture[part >> _WEIGHT_BITS]
                pixel = pixels[n]
                frame[pixel, 0] = total >> _SHIFT
                frame[pixel, 1] = total >> (_CHANNEL_BITS + _SHIFT)
                frame[pixel, 2] = total >> (2 * _CHANNEL_BITS + _SHIFT)
