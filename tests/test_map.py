import numpy as np
import pytest

from mazes.layout import PITCH, ROOM, Layout, MazeConfig, generate
from mazes.renderer import TAN_HALF_FOV, render
from nav_meta.drawing import BACKDROP, LATER
from nav_meta.map import MazeMap

CONFIGS = [
    MazeConfig(rows=2, columns=2),
    MazeConfig(rows=3, columns=5),
    MazeConfig(rows=15, columns=15),
    MazeConfig(kind="imaze"),
]


def centres(layout: Layout) -> np.ndarray:
    """Return the middles of all rooms, [rows, columns, 2]."""
    rows, columns = layout.start.shape
    z, x = np.mgrid[:rows, :columns] * PITCH + ROOM / 2
    return np.stack([x, z], axis=-1)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.kind}-{config.rows}x{config.columns}")
@pytest.mark.parametrize("size", [(200, 260), (121, 77)])
def test_open_places_are_bright_and_solid_ones_dark(config, size):
    layout = generate(config, 7)
    maze_map = MazeMap(layout, *size)
    assert maze_map.image.shape == (*size, 3) and maze_map.image.dtype == np.uint8
    places = maze_map.pixels(centres(layout))
    assert (places > 0).all() and (places < size[::-1]).all()
    column, row = places.astype(int).reshape(-1, 2).T
    dark = (maze_map.image[row, column] == BACKDROP).all(-1)
    np.testing.assert_array_equal(dark, ~layout.open[::2, ::2].ravel())
    assert (maze_map.image[[0, -1]] == BACKDROP).all() or (maze_map.image[:, [0, -1]] == BACKDROP).all()


def test_landmarks_have_the_colours_that_the_agent_sees():
    layout = generate(MazeConfig(rows=4, columns=4), 3)
    batch = Layout(*(field[None] for field in layout._replace(goal=np.full(3, 1e3))))
    maze_map = MazeMap(Layout(*(field[0] for field in batch)), 600, 600)
    solid = ~np.pad(layout.open, 1)
    seen, drawn = [], []
    for (i, j), centre in zip(np.argwhere(layout.start), centres(layout).reshape(-1, 2), strict=True):
        for heading, (dx, dz) in zip(np.pi / 2 * np.arange(4), ((1, 0), (0, -1), (-1, 0), (0, 1)), strict=True):
            if solid[2 * i + dz + 1, 2 * j + dx + 1]:
                seen.append(render(batch, np.array([[*centre, heading]]), 30, 40)[0, 12:18, 17:23].mean((0, 1)))
                column, row = maze_map.pixels(centre + np.array([dx, dz]) * (ROOM / 2 - 0.12)).astype(int)
                drawn.append(maze_map.image[row - 4 : row + 5, column - 4 : column + 5].mean((0, 1)))
    # Colours apart from their brightness, of which light takes some from two of the four walls.
    seen, drawn = (np.array(colours) / np.sum(colours, axis=1, keepdims=True) for colours in (seen, drawn))
    assert len({tuple(colour.round(2)) for colour in drawn}) > 5
    assert np.corrcoef(seen.ravel(), drawn.ravel())[0, 1] > 0.9


def test_the_agent_and_its_way_are_drawn_where_they_are():
    layout = generate(MazeConfig(), 1)
    maze_map = MazeMap(layout, 300, 300)
    before = maze_map.image.copy()
    path = np.array([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
    picture = maze_map.picture(path[-1], path, LATER)
    np.testing.assert_array_equal(maze_map.image, before)
    column, row = maze_map.pixels([1.4, 1.0]).astype(int)
    assert tuple(picture[row, column]) == LATER
    changed = (picture != before).any(-1)
    column, row = maze_map.pixels([1.0, 1.0]).astype(int)
    assert changed[row, column]
    # Nothing behind the agent is lit, and what is before it is.
    column, row = maze_map.pixels([2.8, 1.1]).astype(int)
    assert (picture[row, column] > before[row, column]).all()
    maze_map.leave(path, LATER)
    assert (maze_map.image != before).any()


@pytest.mark.parametrize("shape", [1 / 30, 1, 4 / 3, 2])
def test_the_field_of_view_is_as_wide_as_the_picture(shape):
    maze_map = MazeMap(generate(MazeConfig(rows=2, columns=2), 1), 300, 300, shape)
    pose = np.array([ROOM / 2, ROOM / 2, 0.0])
    brighter = (maze_map.picture(pose, pose[None], LATER) > maze_map.image).all(-1)
    column = int(maze_map.pixels(pose + [1.0, 0.0, 0.0])[0])  # a metre before the agent
    assert abs(brighter[:, column].sum() / maze_map.scale - 2 * TAN_HALF_FOV * shape) < 0.15
