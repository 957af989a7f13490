"""A maze from above: rooms in their landmarks' textures, walls, the goal, the agent, what it sees and how it went."""

from functools import cache

import numpy as np

from mazes.layout import AGENT_RADIUS, BOX_SIZE, GAP, PITCH, ROOM, Layout
from mazes.renderer import CAMERA_HEIGHT, TAN_HALF_FOV, WALL_HEIGHT, render, render_depth
from mazes.textures import FILES, FIRST_OF, OTHER, TEXTURES
from nav_meta.drawing import BACKDROP, INK, Colour, disc, opencv, polygon, polyline, ring

GOAL: Colour = (226, 40, 44)

_MARGIN = 0.35
"""Left free around the maze, metres."""
_STRIP = 0.24
"""Walls are seen from above as strips of their texture on the floor, this wide in metres."""
_TILE_PIXELS = 192
_OVERSAMPLE = 3


class MazeMap:
    """One maze, drawn once; `picture` adds what moves.

    North is up: x (east) runs to the right and z (south) down, as in the layout's arrays.
    """

    def __init__(self, layout: Layout, height: int, width: int, width_over_height: float = 4 / 3) -> None:
        """Draw the maze as large as `height` x `width` pixels allow, in their middle.

        Args:
            layout: one maze.
            height: rows of the pictures.
            width: columns of the pictures.
            width_over_height: shape of what the agent sees, whose field of view is drawn.

        Raises:
            UserError: OpenCV is missing.
        """
        self._width_over_height = width_over_height
        # Drawn, the field of view is the usual one.
        self._layout = Layout(*(field[None] for field in layout))._replace(look=np.empty((1, 0)))
        rows, columns = layout.start.shape
        size = np.array([columns, rows]) * PITCH - GAP
        self.scale = min(np.array([width, height]) / (size + 2 * _MARGIN))
        """Pixels per metre."""
        self._origin = (np.array([width, height]) - size * self.scale) / 2
        self.image = self._rooms(layout, height, width)
        """uint8 [height, width, 3]: the maze and the ways left in it so far."""
        half = max(BOX_SIZE / 2, 4 / self.scale)
        cos, sin = np.cos(layout.goal[2]), np.sin(layout.goal[2])
        corners = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ np.array([[cos, -sin], [sin, cos]])
        self._goal = self.pixels(layout.goal[:2] + corners)
        disc(self.image, self.pixels(layout.goal), 2.1 * half * self.scale, GOAL, alpha=0.25)

    def pixels(self, places: np.ndarray) -> np.ndarray:
        """Return where places [..., >= 2] (x and z in metres come first) are in the picture, float64 [..., 2]."""
        return np.asarray(places)[..., :2] * self.scale + self._origin

    def leave(self, path: np.ndarray, colour: Colour) -> None:
        """Leave a way [N, >= 2] (x, z in metres) in the maze faintly, for all pictures to come."""
        polyline(self.image, self.pixels(path), colour, 0.07 * self.scale, alpha=0.65)

    def picture(self, pose: np.ndarray, path: np.ndarray, colour: Colour) -> np.ndarray:
        """Return the maze with the agent in it.

        Args:
            pose: float64 [3], x and z in metres and heading in radians.
            path: [N, >= 2], N > 0: the way of the present visit, from its start.
            colour: of the way.

        Returns:
            uint8 [height, width, 3].
        """
        image = self.image.copy()
        points = self.pixels(path)
        line = max(2.0, 0.13 * self.scale)
        polygon(image, self._seen_from(pose), (255, 246, 200), alpha=0.24)
        polygon(image, self._goal, GOAL)
        polyline(image, self._goal, INK, 0.06 * self.scale, closed=True)
        polyline(image, points, BACKDROP, line + 2)
        polyline(image, points, colour, line)
        disc(image, points[0], 1.5 * line + 1, BACKDROP)
        disc(image, points[0], 1.5 * line, INK)
        disc(image, points[0], 0.8 * line, colour)
        self._put_agent(image, pose, colour)
        return image

    def _rooms(self, layout: Layout, height: int, width: int) -> np.ndarray:
        """Draw rooms and walls at several samples a pixel, and average."""
        cv2 = opencv()
        scale = self.scale * _OVERSAMPLE
        x, z = (
            (np.arange(pixels * _OVERSAMPLE) + 0.5 - origin * _OVERSAMPLE) / scale
            for pixels, origin in zip((width, height), self._origin, strict=True)
        )
        rows, columns = layout.open.shape
        i, j = _cells(z), _cells(x)
        inside = ((i >= 0) & (i < rows))[:, None] & ((j >= 0) & (j < columns))
        cell = np.ix_(i.clip(0, rows - 1), j.clip(0, columns - 1))
        open_ = inside & layout.open[cell]
        # A room's wall is laid out on its floor, bright along the walls and faint within.
        v, u = ((coordinate / PITCH % 1 * _TILE_PIXELS).astype(int) for coordinate in (z, x))
        texture = FIRST_OF[layout.texture]
        tiles = _tiles(len(FILES) if texture.max() >= OTHER else len(TEXTURES))
        colour = tiles[texture[cell], v[:, None], u].astype(np.float32)
        away = cv2.distanceTransform(np.pad(open_, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1, None] / scale
        floor = 0.4 * colour + 0.6 * np.array([58, 60, 66], np.float32)
        shade = 0.72 + 0.28 * np.clip((away - _STRIP) / 0.5, 0, 1)
        image = np.where(away < _STRIP, 1.25 * colour + 12, floor * shade)
        image[(away < _STRIP + 0.05)[..., 0] & (away >= _STRIP)[..., 0]] = (24, 26, 31)
        # A light outline keeps rooms with dark walls apart from the dark around the maze.
        to_open = cv2.distanceTransform((~open_).astype(np.uint8), cv2.DIST_L2, 5)[..., None] / scale
        around = np.where(to_open < 0.07, np.array([205, 208, 215]), np.array(BACKDROP))
        image = np.where(open_[..., None], image, around).clip(0, 255).astype(np.uint8)
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)

    def _put_agent(self, image: np.ndarray, pose: np.ndarray, colour: Colour) -> None:
        radius = max(AGENT_RADIUS * self.scale, 6.0)
        centre = self.pixels(pose)
        ahead = np.array([np.cos(pose[2]), -np.sin(pose[2])])
        right = np.array([np.sin(pose[2]), np.cos(pose[2])])
        disc(image, centre, radius + 1.5, BACKDROP)
        disc(image, centre, radius, INK)
        arrow = np.array([[0.78, 0.0], [-0.55, 0.56], [-0.25, 0.0], [-0.55, -0.56]])
        polygon(image, centre + radius * (arrow[:, :1] * ahead + arrow[:, 1:] * right), (32, 36, 46))
        ring(image, centre, radius, colour, max(1.0, 0.12 * radius))

    def _seen_from(self, pose: np.ndarray) -> np.ndarray:
        """Return the outline of the floor that lies in the field of view, in pixels [N, 2]."""
        # Both odd: the middle row looks straight ahead, at the walls and over the box.
        height = 61
        width = 2 * max(1, round((height * self._width_over_height - 1) / 2)) + 1
        depth = render_depth(self._layout, pose[None], height, width)[0, height // 2, :, None]
        lateral = (np.arange(width) + 0.5 - width / 2)[:, None] * 2 * TAN_HALF_FOV / height
        ahead = np.array([np.cos(pose[2]), -np.sin(pose[2])])
        right = np.array([np.sin(pose[2]), np.cos(pose[2])])
        return self.pixels(np.concatenate([pose[None, :2], pose[:2] + depth * (ahead + lateral * right)]))


def _cells(coordinates: np.ndarray) -> np.ndarray:
    """Return the index along one axis of the cells that hold coordinates in metres: even in a room, odd in a gap."""
    k = np.floor(coordinates / PITCH).astype(int)
    return 2 * k + (coordinates - k * PITCH >= ROOM)


@cache
def _tiles(count: int) -> np.ndarray:
    """Return the first textures as an agent sees a wall that fills its view, uint8 [count, side, side, 3]."""
    room = np.ones((count, 1, 1), np.bool_)
    numbers = np.arange(count, dtype=np.uint8).reshape(room.shape)
    layouts = Layout(room, numbers, np.full((count, 3), 100.0), room, np.empty((count, 0)))
    pose = [ROOM / 2, (WALL_HEIGHT - CAMERA_HEIGHT) / TAN_HALF_FOV, np.pi / 2]
    walls = render(layouts, np.tile(pose, (count, 1)), _TILE_PIXELS, _TILE_PIXELS)
    return walls[:, :, ::-1]  # MiniWorld's north walls are bright, but their pictures are mirrored
