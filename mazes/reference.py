"""The same mazes as real MiniWorld environments: the truth that simulator and renderer are held against.

The only module that imports miniworld, and it does so in functions: importing MiniWorld opens an OpenGL context, and
training needs none.
"""

import warnings
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np

from mazes import look as looks
from mazes.layout import PITCH, ROOM, STEP_SIZES, Layout, MazeConfig, generate
from mazes.textures import FILES

if TYPE_CHECKING:
    from miniworld.miniworld import MiniWorldEnv


@cache
def available() -> str | None:
    """Return None where MiniWorld can draw, otherwise a sentence that says what is missing."""
    config = MazeConfig(rows=2, columns=2, landmarks="none")
    try:
        _build(config, generate(config, 0), 4, 4)
    except Exception as error:  # pyglet has no common error for its many ways to find no OpenGL
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return (
            f"MiniWorld's pictures need OpenGL, which did not start ({reason}); on Debian and Ubuntu: "
            "apt-get install libgl1 libglu1-mesa libegl1 libgl1-mesa-dri libfreetype6"
        )
    return None


def make_reference(config: MazeConfig, layout: Layout, height: int = 60, width: int = 80) -> "MiniWorldEnv":
    """Return a maze as a MiniWorld environment, with observations uint8 [height, width, 3].

    It is a `miniworld.MiniWorldEnv` with the red box at the layout's goal. Its attributes `pose` and `goal`, float64
    [3] as in `mazes.simulator` and `Layout`, can be read and set. With domain randomisation it has the layout's look,
    and `step` can be given what `simulator.draw_steps` drew; nothing is left to its own generator.

    Raises:
        RuntimeError: there is no OpenGL here.
    """
    missing = available()
    if missing:
        raise RuntimeError(missing)
    return _build(config, layout, height, width)


class ReferenceRenderer:
    """MiniWorld's own pictures of a batch of mazes: `mazes.renderer.render` by OpenGL.

    The walls of each row of the batch stay in a display list of their own and are compiled again only when they change.
    """

    def __init__(self, config: MazeConfig, height: int = 30, width: int = 40) -> None:
        """Prepare for pictures of `height` rows and `width` columns.

        Raises:
            RuntimeError: there is no OpenGL here.
        """
        missing = available()
        if missing:
            raise RuntimeError(missing)
        self.config, self.height, self.width = config, height, width
        self._world = None
        self._rows: list[tuple[bytes, int]] = []

    def render(self, layouts: Layout, poses: np.ndarray) -> np.ndarray:
        """Return what the agent sees at `poses` float64 [B, 3] in B mazes, uint8 [B, height, width, 3]."""
        frames = np.empty((len(poses), self.height, self.width, 3), np.uint8)
        for row, frame in enumerate(frames):
            frame[:] = self._look(row, layouts, poses).render_obs()
        return frames

    def depth(self, layouts: Layout, poses: np.ndarray) -> np.ndarray:
        """Return the depth at each pixel's centre, float32 [B, height, width], metres along the optical axis.

        MiniWorld's depth buffer has 16 bits, which resolve no more than depth**2 / 2600 metres; this one has 24.
        """
        frames = np.empty((len(poses), self.height, self.width), np.float32)
        for row, frame in enumerate(frames):
            frame[:] = self._look(row, layouts, poses).render_depth()[..., 0]
        return frames

    def _look(self, row: int, layouts: Layout, poses: np.ndarray) -> "MiniWorldEnv":
        """Put one row of the batch before the camera."""
        layout = Layout(*(field[row] for field in layouts))
        key = layout.open.tobytes() + layout.texture.tobytes()
        if self._world is None:
            self._world = make_reference(self.config, layout, self.height, self.width)
        world = self._world
        if row == len(self._rows):
            world.show(layout, walls=None)
            self._rows.append((key, world.walls))
        elif self._rows[row][0] != key:
            world.show(layout, walls=self._rows[row][1])
            self._rows[row] = key, world.walls
        world.walls = self._rows[row][1]
        world.look = layout.look
        world.goal = layout.goal
        world.pose = poses[row]
        return world


def _build(config: MazeConfig, layout: Layout, height: int, width: int) -> "MiniWorldEnv":
    with redirect_stdout(StringIO()) as said:  # it prints how many samples a pixel has
        world = _reference_class()(config, layout, height, width)
    if "non-multisampled" in said.getvalue():
        warnings.warn("OpenGL has no multisampling here: MiniWorld's pictures have jagged edges", stacklevel=2)
    return world


@cache
def _reference_class() -> type:
    """Import MiniWorld without a display and return the environment's class."""
    import ctypes

    import pyglet

    pyglet.options["headless"] = True  # has an effect before the first window only
    from miniworld.entity import Box
    from miniworld.miniworld import MiniWorldEnv
    from miniworld.opengl import FrameBuffer
    from miniworld.params import DEFAULT_PARAMS
    from pyglet.gl import (
        GL_AMBIENT,
        GL_COMPILE,
        GL_DEPTH_ATTACHMENT,
        GL_DEPTH_COMPONENT,
        GL_DEPTH_COMPONENT24,
        GL_DIFFUSE,
        GL_FLOAT,
        GL_FRAMEBUFFER,
        GL_LIGHT0,
        GL_POSITION,
        GL_RENDERBUFFER,
        GLfloat,
        GLuint,
        glBindFramebuffer,
        glBindRenderbuffer,
        glCallList,
        glEndList,
        glFramebufferRenderbuffer,
        glGenLists,
        glGenRenderbuffers,
        glLightfv,
        glNewList,
        glReadPixels,
        glRenderbufferStorage,
    )

    # One for all environments. MiniWorld gives each its own, and if one of them dies on another thread, pyglet's notes
    # of what OpenGL can do are empty from then on: MiniWorld would silently draw without multisampling.
    window = pyglet.window.Window(width=1, height=1, visible=False)

    class DepthBuffer(FrameBuffer):
        """A frame buffer that is drawn to without multisampling: depth is that at the pixel's centre, in 24 bits."""

        def __init__(self, width: int, height: int) -> None:
            super().__init__(width, height)
            depth = GLuint(0)
            glGenRenderbuffers(1, ctypes.byref(depth))
            glBindRenderbuffer(GL_RENDERBUFFER, depth)
            glRenderbufferStorage(GL_RENDERBUFFER, GL_DEPTH_COMPONENT24, width, height)
            glBindFramebuffer(GL_FRAMEBUFFER, self.final_fbo)
            glFramebufferRenderbuffer(GL_FRAMEBUFFER, GL_DEPTH_ATTACHMENT, GL_RENDERBUFFER, depth)
            glBindFramebuffer(GL_FRAMEBUFFER, 0)

        def bind(self) -> None:
            super().bind()
            glBindFramebuffer(GL_FRAMEBUFFER, self.final_fbo)

        def resolve(self) -> None:
            """Nothing to do: there is one sample a pixel, where `get_depth_map` reads."""

        def get_depth_map(self, z_near: float = 0.04, z_far: float = 1.0) -> np.ndarray:
            """Return the buffer as depth, float32 [height, width, 1], metres."""
            buffer = np.empty((self.height, self.width, 1), np.float32)
            glBindFramebuffer(GL_FRAMEBUFFER, self.final_fbo)
            glReadPixels(0, 0, self.width, self.height, GL_DEPTH_COMPONENT, GL_FLOAT, buffer.ctypes.data)
            glBindFramebuffer(GL_FRAMEBUFFER, 0)
            depth = z_near * z_far / (z_far - buffer[::-1].astype(np.float64) * (z_far - z_near))
            return depth.astype(np.float32)

    class Choice:
        """In place of a generator: draws the file of a wall's texture that was drawn before; the rest has only one."""

        def __init__(self, number: int) -> None:
            self._number = number

        def integers(self, low: int, high: int) -> int:
            """Return an index of one of a texture's files."""
            return min(self._number, high) - 1

    class ReferenceMaze(MiniWorldEnv):
        """A `Layout` in MiniWorld.

        MiniWorld compiles every world into display list 1, so that two environments in one process draw each other's.
        Here list 1 holds the light alone, which all worlds share, and each world's walls have a list of their own.
        """

        def __init__(self, config: MazeConfig, layout: Layout, height: int, width: int) -> None:
            self.layout = layout
            self.walls = None
            forward_step, turn_step = STEP_SIZES[config.step_size]
            params = DEFAULT_PARAMS.no_random()
            # MiniWorld's `near` asks for the longest step there may be.
            params.set("forward_step", forward_step, forward_step, config.longest_step)
            params.set("turn_step", turn_step)
            self._longest_step = config.longest_step
            window.switch_to()
            with mock.patch.object(pyglet.window, "Window", return_value=window):
                # The buffer to look at outlives the environment: keep it as small as the observation's.
                super().__init__(
                    max_episode_steps=config.visit_cap,
                    obs_height=height,
                    obs_width=width,
                    window_height=height,
                    window_width=width,
                    params=params,
                )
            self._depth_buffer = DepthBuffer(width, height)

        @property
        def pose(self) -> np.ndarray:
            """The agent's x and z in metres and heading in radians."""
            return np.array([self.agent.pos[0], self.agent.pos[2], self.agent.dir])

        @pose.setter
        def pose(self, pose: np.ndarray) -> None:
            self.agent.pos = np.array([pose[0], 0.0, pose[1]])
            self.agent.dir = float(pose[2])

        @property
        def goal(self) -> np.ndarray:
            """The box's x and z in metres and heading in radians."""
            return np.array([self.box.pos[0], self.box.pos[2], self.box.dir])

        @goal.setter
        def goal(self, goal: np.ndarray) -> None:
            self.box.pos = np.array([goal[0], 0.0, goal[1]])
            self.box.dir = float(goal[2])

        @property
        def look(self) -> np.ndarray:
            """What domain randomisation drew, float64 [`looks.SIZE`], or of length 0."""
            return self.layout.look

        @look.setter
        def look(self, look: np.ndarray) -> None:
            self.layout = self.layout._replace(look=look)
            for name in looks.NAMES:
                drawn = looks.of(look, name) if len(look) else DEFAULT_PARAMS.sample(None, name)
                self.params.set(name, drawn)
            self.params.sample_many(None, self, ["light_pos", "light_color", "light_ambient"])
            for entity in self.entities:
                entity.randomize(self.params, None)

        def show(self, layout: Layout, walls: int | None) -> None:
            """Build another world, its walls in the display list `walls` (None: a new one)."""
            self.layout = layout
            self.walls = walls
            self.reset()

        def step(self, action: int, drawn: np.ndarray | None = None) -> tuple:
            """Move as MiniWorld does; reward 1 and the end when the box is near, as in its `Maze`.

            Args:
                action: one of `simulator.ACTIONS`.
                drawn: float64 [3], a row of `simulator.draw_steps`.
            """
            if drawn is not None:
                forward, drift, turn = drawn
                self.params.set("forward_step", forward, forward, self._longest_step)
                self.params.set("forward_drift", drift)
                self.params.set("turn_step", turn / (np.pi / 180))
            observation, _, _, truncated, info = super().step(action)
            found = bool(self.near(self.box))
            return observation, float(found), found, truncated, info

        def render_depth(self, frame_buffer: FrameBuffer | None = None) -> np.ndarray:
            """Return the depth at each pixel's centre, float32 [height, width, 1], metres."""
            return super().render_depth(frame_buffer or self._depth_buffer)

        def _gen_world(self) -> None:
            open_, texture = self.layout.open, self.layout.texture
            self.look = self.layout.look
            rooms = {
                (i, j): self.add_rect_room(
                    min_x=j // 2 * PITCH,
                    max_x=j // 2 * PITCH + ROOM,
                    min_z=i // 2 * PITCH,
                    max_z=i // 2 * PITCH + ROOM,
                    wall_tex=FILES[texture[i, j]][0],
                )
                for i in range(0, open_.shape[0], 2)
                for j in range(0, open_.shape[1], 2)
                if open_[i, j]
            }
            self._cells = list(rooms)  # those of `self.rooms`, to which each connection adds another
            for (i, j), room in rooms.items():
                if (i, j + 2) in rooms and open_[i, j + 1]:
                    self._cells.append((i, j + 1))
                    self.connect_rooms(room, rooms[i, j + 2], min_z=room.min_z, max_z=room.max_z)
                if (i + 2, j) in rooms and open_[i + 1, j]:
                    self._cells.append((i + 1, j))
                    self.connect_rooms(room, rooms[i + 2, j], min_x=room.min_x, max_x=room.max_x)
            x, z, heading = self.layout.goal
            self.box = self.place_entity(Box(color="red"), pos=np.array([x, 0.0, z]), dir=heading)
            r, c = np.argwhere(self.layout.start)[0]
            self.place_agent(pos=np.array([c * PITCH + ROOM / 2, 0.0, r * PITCH + ROOM / 2]), dir=0.0)

        def _gen_static_data(self) -> None:
            super()._gen_static_data()
            for cell, room in zip(self._cells, self.rooms, strict=True):
                number = FILES[self.layout.texture[cell]][1]
                if number > 1:
                    room._gen_static_data(self.params, Choice(number))

        def _render_static(self) -> None:
            rooms, self.rooms = self.rooms, []
            super()._render_static()
            self.rooms = rooms
            if self.walls is None:
                self.walls = glGenLists(1)
            glNewList(self.walls, GL_COMPILE)
            for room in rooms:
                room._render()
            glEndList()

        def _render_world(self, frame_buffer: FrameBuffer, render_agent: bool) -> np.ndarray:
            glCallList(1)
            for name, values in (
                (GL_POSITION, self.light_pos + 1),
                (GL_AMBIENT, self.light_ambient),
                (GL_DIFFUSE, self.light_color),
            ):
                glLightfv(GL_LIGHT0, name, (GLfloat * 4)(*values))
            glCallList(self.walls)
            self.box.render()
            if render_agent:
                self.agent.render()
            return frame_buffer.resolve()

    return ReferenceMaze
