"""The mazes on a CUDA device: a step is a handful of kernels, and nothing of it is copied to the host.

The kernels are thin: what moves, collides, draws lots, casts rays and looks up textures are the very functions of the
CPU's path, which numba compiles for the device as well; only the sum of four texels is written out for it. With
NUMBA_ENABLE_CUDASIM=1 in the environment before numba is imported, they run on numba's simulator instead, and the
arrays are NumPy's, not torch's.

A picture is drawn by columns. One kernel finds the walls and the box that each column sees, a thread each; the next
draws, `_ROWS` threads a column, neighbours in a warp, every `_ROWS`th row each, so that a warp reads texels that lie
side by side. Where mazes have looks, a block draws one picture, pixel by pixel.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import cuda, njit

from mazes import exact, paths, renderer, search, simulator, textures, trail, view
from mazes import look as looks
from mazes.environment import (
    GOAL_REWARD,
    HINT_SCALE,
    NO_HINTS,
    PLACE,
    Ended,
    Hints,
    MazeEnvironment,
    TimeStep,
    check_options,
    check_shapes,
    middle,
    questions,
)
from mazes.layout import (
    DECK,
    KINDS,
    STEP_SIZES,
    MazeConfig,
    empty_batch,
    require_bool,
    require_number,
    write_look,
    write_maze,
)
from mazes.paths import goal_in_sight
from mazes.rays import SAMPLE_Y, SAMPLES, WALL_IN_VIEW
from mazes.seeds import split_seeds

SIMULATED = bool(numba.config.ENABLE_CUDASIM)
"""Do kernels run on numba's simulator, on NumPy arrays."""

_THREADS = 8 if SIMULATED else 128  # of a block; the simulator's are expensive
_THREADS_OF_SEARCH = 4 if SIMULATED else 64
_ROWS = 2 if SIMULATED else 8
# Local arrays of walls are made of numbers: numba would clear an array of records byte by byte.
_OF_WALL = WALL_IN_VIEW.itemsize // 8
_OF_WALLS = SAMPLES * _OF_WALL
_MOST_ROOMS = 15 * 15
_MOST_HEADINGS = 24
_NEVER = 2**31 - 1
_EVEN, _BYTE = np.uint32(0x00FF_00FF), np.uint32(8)
"""Red and blue of a texel; green where they were, after a shift."""
# A search's next task: to look around, to forget all and look around, or only to measure anew.
_NOTHING, _LOOK, _BEGIN, _MEASURE = range(4)


class _Rules(NamedTuple):
    """What is the same in all mazes."""

    kind: int
    extra_openings: float
    first_texture: int
    """Of those that rooms are dealt."""
    textures: int
    """How many those are."""
    domain_rand: bool
    forward_step: float
    turn_step: float
    turn_degrees: float
    """The same turn, as `look.draw_step` takes it."""
    near: float
    respawn_distance: float
    same_start: bool
    """Does every visit begin where the first did?"""
    episode_steps: int
    visits: int
    visit_cap: int
    first_seed: int
    """Of row 0's first episode; row b's is b more."""
    seed_stride: int
    """From a row's episode to its next."""
    learnt: bool
    """Are there signals for a learner?"""
    shaping: np.float32
    coverage: np.float32
    guided: bool
    """Does a room that has not been searched stand in for a goal not yet seen?"""
    ask_view: bool
    half_width: float
    """Tangent of the angle between the optical axis and the picture's edge."""
    ask_place: bool
    ask_trail: bool
    middle_x: float
    """This and the next: the mazes' middle, metres."""
    middle_z: float
    stride: int
    """Actions of a step of the steps-to-go fields."""
    spacing: float
    """Of their grid points, metres."""


class _World(NamedTuple):
    """All mazes' state, the names and types of `MazeEnvironment` with a leading axis B."""

    open: Any
    texture: Any
    goal: Any
    start: Any
    look: Any
    """float64 [B, `look.SIZE`]; without domain randomisation a single number, which means nothing."""
    lights: Any
    """float64 [B, `exact.LIGHTS`, 3], see `exact.write_lights`; without domain randomisation a single number."""
    fields: Any
    """float32 [B, nz, nx, headings]: steps to go; without a learner a single number, which means nothing."""
    ahead: Any
    """int8, of the same shape: room to compute them."""
    seeds: Any
    """int64: the bits of the uint64 that the CPU has; torch can do little with those."""
    episode: Any
    episode_step: Any
    poses: Any
    starts: Any
    visit: Any
    visit_step: Any
    prev_action: Any
    prev_reward: Any
    first: Any
    bonus: Any
    steps_to_go: Any
    entered: Any
    """uint8 [B, rows, columns]: `trail`."""
    unseen: Any
    """This and the next two as in `search.Search`."""
    away: Any
    sighted: Any
    looks: Any
    """int8 [B]: what `_search` is to do."""
    ended: Any
    ended_visit: Any
    ended_latency: Any
    ended_found: Any
    begun: Any
    """bool [B]: where the last `renew` began an episode."""


class _Hints(NamedTuple):
    target: Any
    known: Any


class _Grid(NamedTuple):
    """The grid of the steps-to-go fields."""

    way: Any
    """float64 [2, headings]: `paths.strides`."""
    places: Any
    """float64 [points]: where the grid points are along an axis, metres. They are read, not multiplied out: a product
    that the device fuses with a sum is rounded once, and points that touch a wall by a hair would be taken apart."""


class _Film(NamedTuple):
    """Where pictures are drawn."""

    frames: Any
    """uint8 [B, height, width, 3]."""
    horizon: Any
    """float64 [samples of a pixel]: rows from the upper edge to the sample's level with the camera."""


class _Columns(NamedTuple):
    """What is known of the C = B * width columns of all pictures before they are drawn."""

    ray: Any
    """float64 [C, 2]: what a metre of depth is in x and z at a column's middle."""
    walls: Any
    """int64 [C, samples, 7]: of each wall in view, from left to right, what `renderer.place_on` says; then its end, its
    texture and its side, as in `rays.WALL_IN_VIEW`."""
    edges: Any
    """int32 [C, 2, samples]: this and the next as in the renderer's `_Work`."""
    box: Any
    """int32 [C, 4, samples]."""


class _Sight(NamedTuple):
    """The arrays of the renderer's `_Work` for a column's samples alone."""

    horizon: Any
    near: Any
    edges: Any
    box: Any


class CudaMazeEnvironment:
    """B mazes at once on a CUDA device: the contract of `mazes.environment.MazeEnvironment`, in torch's tensors.

    From the same seeds and actions it shows the same pictures, up to one grey level, and takes the same way. All calls
    but `state` and `restore` only queue kernels on torch's current stream. They can be captured in a CUDA graph once
    each has run; capture with the tensors that the replay shall use as `actions` and `out`. Kernels are compiled for
    each picture size and kind of maze alike, at the first call.
    """

    actions = len(simulator.ACTIONS)
    hint_size: int
    view_size: int

    def __init__(
        self,
        config: MazeConfig,
        batch: int,
        *,
        height: int = 30,
        width: int = 40,
        first_seed: int | None = None,
        seed_stride: int | None = None,
        episode_steps: int | None = None,
        visits: int | None = None,
        visit_cap: int | None = None,
        phases: np.ndarray | None = None,
        shaping: float | None = None,
        coverage: float = 0.0,
        ask_view: bool = False,
        ask_place: bool = False,
        ask_trail: bool = False,
        guided_search: bool = False,
        device: int = 0,
    ) -> None:
        """Begin the first episodes.

        Args:
            config: which mazes.
            batch: number of environments B.
            height: rows of the picture.
            width: columns of the picture.
            first_seed: maze seed of the first episode of row 0; row b has one b higher. By default the training split's
                first.
            seed_stride: how much higher the seed of a row's next episode is; by default B, so that each maze is used
                once.
            episode_steps: steps of an episode; None: no limit.
            visits: visits of an episode; None: no limit.
            visit_cap: steps after which a visit is given up; None: never.
            phases: int [B]: how many steps each first episode is taken to have run already.
            shaping: the learner's bonus for each step that the goal comes nearer, from the second visit on. None:
                nobody learns here, which spares the computation of what `hints` says.
            coverage: the learner's bonus for each room that is entered for the first time in an episode's first visit.
            ask_view: do `hints` also tell what the encoder alone is asked: see `view`?
            ask_place: do `hints` also tell where in the maze the agent is, and how it is turned?
            ask_trail: do `hints` also tell how often the agent was in the rooms around since it was put?
            guided_search: until the goal has been in sight, does the nearest room that has not been searched stand in
                for it: in what `shaping` pays for, and in what `hints` says of actions?
            device: number of the CUDA device.

        Raises:
            ValueError: names the option and its range.
            RuntimeError: when there is no such device, or numba cannot use it.
        """
        check_options(batch, height, width, episode_steps, visits, visit_cap, phases, shaping, coverage, most=_NEVER)
        require_bool("ask_view", ask_view)
        require_bool("ask_place", ask_place)
        require_bool("ask_trail", ask_trail)
        require_bool("guided_search", guided_search)
        first_seed = int(split_seeds("train", 0, 1)[0]) if first_seed is None else first_seed
        seed_stride = batch if seed_stride is None else seed_stride
        for name, value in (("first_seed", first_seed), ("seed_stride", seed_stride)):
            require_number(name, value, 0, 2**64 - 1, whole=True)
        self._torch = None if SIMULATED else use_device(device)
        self.device = "cpu" if SIMULATED else f"cuda:{device}"
        self.config = config
        self.batch = batch
        self.observation_shape = (height, width, 3)
        self.hint_size = len(questions(ask_view, ask_place, ask_trail))
        self.view_size = len(view.QUESTIONS) if ask_view else 0
        stride, spacing = paths.stride(config)
        self._rules = _Rules(
            KINDS.index(config.kind), float(config.extra_openings), *config.deck,
            config.domain_rand, config.forward_step, config.turn_step, STEP_SIZES[config.step_size][1],
            config.near, float(config.respawn_distance), config.respawn == "same",
            episode_steps or _NEVER, visits or _NEVER, visit_cap or _NEVER,
            _as_int64(first_seed), _as_int64(seed_stride), shaping is not None, np.float32(shaping or 0),
            np.float32(coverage), guided_search and shaping is not None, ask_view,
            renderer.TAN_HALF_FOV * width / height, ask_place, ask_trail, *middle(config), stride, spacing,
        )  # fmt: skip
        self._arrays = self._make_arrays()
        self._world = _World(*(self._view(array) for array in self._arrays))
        self._hints = _Hints(
            self._zeros((batch, self.hint_size), np.float32), self._zeros((batch, self.hint_size), np.bool_)
        )
        self._hints_view = _Hints(*(self._view(array) for array in self._hints))
        self._discount = self._zeros(batch, np.float32) + 1
        self._ways = self._find_ways(width / height)
        points = max(paths.empty_fields(config, 1).shape[1:3])
        self._grid = _Grid(self._upload(paths.strides(config)), self._upload(spacing * np.arange(points)))
        if not config.domain_rand:  # which draws nothing baked
            self._ground = renderer.Ground(*(self._upload(part) for part in renderer.bake_ground(height, width)))
            columns = batch * width
            self._column_arrays = _Columns(
                self._zeros((columns, 2), np.float64),
                self._zeros((columns, SAMPLES, 7), np.int64),
                self._zeros((columns, 2, SAMPLES), np.int32),
                self._zeros((columns, 4, SAMPLES), np.int32),
            )
            self._columns = _Columns(*(self._view(array) for array in self._column_arrays))
        # In words, so that a thread reads a texel at once.
        pyramids = textures.in_words(textures.load(variants=config.domain_rand or config.landmarks == "other"))
        self._pyramids = textures.Pyramids(*(self._upload(part) for part in pyramids))
        self._horizon = self._upload(height / 2 - SAMPLE_Y)
        self._renew(everywhere=True)
        if phases is not None:
            self._arrays.episode_step[:] = self._own(np.asarray(phases, np.int64))

    @property
    def over(self) -> Any:
        """Which episodes `renew` would end, bool [B]."""
        arrays, rules = self._arrays, self._rules
        return (arrays.episode_step >= rules.episode_steps) | (arrays.visit >= rules.visits)

    @property
    def poses(self) -> Any:
        """X and z in metres and the heading in radians, float64 [B, 3]; changed by `step` and `renew`."""
        return self._arrays.poses

    @property
    def ended(self) -> Ended:
        """The visits that the last step ended; changed by the next."""
        arrays = self._arrays
        return Ended(arrays.ended, arrays.ended_visit, arrays.ended_latency, arrays.ended_found)

    def renew(self) -> Any:
        """Begin a new episode wherever one is over; return bool [B]: where."""
        self._renew(everywhere=False)
        return _copy(self._arrays.begun)

    def step(self, actions: Any) -> None:
        """Make one action in each maze, int64 [B]; what came of it is in `time_step()`, `hints()` and `ended`."""
        self._launch(_step, self.batch, self._world, self._rules, self._ways, self._view(actions))
        self._search()

    def time_step(self, out: Any = None) -> TimeStep:
        """Return the present moment; the picture is drawn into `out`, uint8 [B, H, W, 3] without gaps, if given."""
        frames = self._zeros((self.batch, *self.observation_shape), np.uint8) if out is None else out
        film = _Film(self._view(frames), self._horizon)
        if self.config.domain_rand:
            _draw_exact[self.batch, _THREADS, self._stream()](self._world, self._pyramids, film)
        else:
            columns = self.batch * self.observation_shape[1]
            self._launch(_look, columns, self._world, self._pyramids, film, self._columns)
            self._launch(_draw, columns * _ROWS, self._world, self._ground, self._pyramids, film, self._columns)
        arrays = self._arrays
        told = (arrays.prev_action, arrays.prev_reward, arrays.first, self._discount, arrays.visit)
        return TimeStep(frames, *(_copy(array) for array in told))

    def hints(self) -> Hints:
        """Return the learner's signals at the present moment.

        Raises:
            RuntimeError: in an environment made without `shaping`.
        """
        if not self._rules.learnt:
            raise RuntimeError(NO_HINTS)
        self._launch(_hint, self.batch, self._world, self._rules, self._ways, self._hints_view)
        return Hints(_copy(self._arrays.bonus), _copy(self._hints.target), _copy(self._hints.known))

    def state(self) -> dict[str, np.ndarray]:
        """Return all that `restore` needs, on either path: names and types are those of `MazeEnvironment.state`."""
        state = {saved: _to_host(getattr(self._arrays, name)) for name, saved in _SAVED.items()}
        state["seeds"] = state["seeds"].view(np.uint64)
        return state

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continue where `state` was taken, here or on the CPU.

        Raises:
            ValueError: when it is the state of other mazes, or of another number of them.
        """
        check_shapes({saved: tuple(getattr(self._arrays, name).shape) for name, saved in _SAVED.items()}, state)
        for name, saved in _SAVED.items():
            value = state[saved]
            getattr(self._arrays, name)[:] = self._own(value.view(np.int64) if name == "seeds" else value)
        self._arrays.begun[:] = True
        self._write_mazes()
        self._arrays.looks[:] = _MEASURE
        self._search()

    def _renew(self, everywhere: bool) -> None:
        self._launch(_begin, self.batch, self._world, self._rules, everywhere)
        self._write_mazes()
        self._launch(_put, self.batch, self._world, self._rules, self._ways)
        self._search()

    def _search(self) -> None:
        """Look around wherever an agent has been put or has moved in a guided search."""
        if self._rules.guided:
            _search[self.batch, _THREADS_OF_SEARCH, self._stream()](self._world, self._ways)

    def _write_mazes(self) -> None:
        """Write the mazes, and the fields, of the seeds of all episodes that have just begun."""
        self._launch(_write, self.batch, self._world, self._rules)
        if self._rules.learnt:
            _write_fields[self.batch, _THREADS, self._stream()](self._world, self._rules, self._grid)

    def _find_ways(self, width_over_height: float) -> search.Ways:
        if self._rules.guided:
            ways = search.find_ways(self.config, width_over_height)
        else:
            ways = search.Ways(np.zeros((1, 1, 1, 1, 1), np.float32), np.zeros((1, 1, 1), np.float32), 1.0, 1.0, 1.0)
        return ways._replace(fields=self._upload(ways.fields), through=self._upload(ways.through))

    def _launch(self, kernel: Any, count: int, *arguments: Any) -> None:
        kernel[-(-count // _THREADS), _THREADS, self._stream()](*arguments)

    def _make_arrays(self) -> _World:
        layout, size = empty_batch(self.config, 1), self.batch
        fields = paths.empty_fields(self.config, 1)
        shapes = {
            **{name: (size, *field.shape[1:]) for name, field in layout._asdict().items()},
            "lights": (size, exact.LIGHTS, 3),
            "fields": (size, *fields.shape[1:]) if self._rules.learnt else (1, 1, 1, 1),
            "entered": trail.empty_trails(self.config, size).shape,
            **{name: part.shape for name, part in search.empty_search(self.config, size)._asdict().items()},
            "poses": (size, 3),
            "starts": (size, 3),
        }
        shapes["ahead"] = shapes["fields"]
        if not self.config.domain_rand:
            shapes["look"], shapes["lights"] = (1, 1), (1, 1, 1)
        return _World(*(self._zeros(shapes.get(name, size), _TYPES[name]) for name in _World._fields))

    # What follows is all that there is of torch.

    def _stream(self) -> Any:
        if SIMULATED:
            return 0
        return cuda.external_stream(self._torch.cuda.current_stream(self.device).cuda_stream)

    def _zeros(self, shape: int | tuple[int, ...], dtype: type) -> Any:
        if SIMULATED:
            return np.zeros(shape, dtype)
        name = "bool" if dtype is np.bool_ else np.dtype(dtype).name
        return self._torch.zeros(shape, dtype=getattr(self._torch, name), device=self.device)

    def _own(self, array: np.ndarray) -> Any:
        return array if SIMULATED else self._torch.from_numpy(array).to(self.device)

    def _view(self, array: Any) -> Any:
        """Return what kernels take for a tensor."""
        return array if SIMULATED else cuda.as_cuda_array(array)

    def _upload(self, array: np.ndarray) -> Any:
        """Return what kernels take for an array that never changes."""
        return array if SIMULATED else cuda.to_device(np.ascontiguousarray(array))


_TYPES: dict[str, type] = {
    "open": np.bool_, "texture": np.uint8, "goal": np.float64, "start": np.bool_,
    "look": np.float64, "lights": np.float64,
    "fields": np.float32, "ahead": np.int8,
    "seeds": np.int64, "episode": np.int64, "episode_step": np.int64,
    "poses": np.float64, "starts": np.float64, "visit": np.int32, "visit_step": np.int32,
    "prev_action": np.int64, "prev_reward": np.float32, "first": np.bool_, "bonus": np.float32,
    "steps_to_go": np.float32, "entered": np.uint8, "unseen": np.bool_, "away": np.float32, "sighted": np.bool_,
    "looks": np.int8,
    "ended": np.bool_, "ended_visit": np.int32, "ended_latency": np.int32, "ended_found": np.bool_, "begun": np.bool_,
}  # fmt: skip

_SAVED = {name.removeprefix("_"): name for name in MazeEnvironment.STATE}
"""Names here, and in a saved state."""


def use_device(device: int) -> Any:
    """Return torch, having chosen the device for it and for numba.

    Raises:
        RuntimeError: when one of them finds no device.
        ValueError: when there is none of that number.
    """
    import torch  # the mazes on a CPU do without it

    if not torch.cuda.is_available():
        raise RuntimeError("torch finds no CUDA device: choose the CPU (MazeEnvironment; --device cpu)")
    if SIMULATED:
        raise RuntimeError("NUMBA_ENABLE_CUDASIM=1 asks for numba's simulator: unset it to use the CUDA device")
    if not cuda.is_available():
        raise RuntimeError("numba finds no CUDA: pip install -e '.[cuda]'")
    require_number("device", device, 0, torch.cuda.device_count() - 1, whole=True)
    torch.cuda.set_device(device)
    torch.cuda.init()
    cuda.select_device(device)
    return torch


def _as_int64(seed: int) -> int:
    """Return the int64 with the same bits."""
    return seed - 2**64 if seed >= 2**63 else seed


def _copy(array: Any) -> Any:
    return array.copy() if SIMULATED else array.clone()


def _to_host(array: Any) -> np.ndarray:
    return array.copy() if SIMULATED else array.cpu().numpy()


@cuda.jit
def _begin(world, rules, everywhere):
    b = cuda.grid(1)
    if b < len(world.visit):
        _begin_one(world, rules, everywhere, b)


@njit(cache=True)
def _begin_one(world, rules, everywhere, b):
    """Set the counters of a new episode, if one is over."""
    world.begun[b] = everywhere or world.episode_step[b] >= rules.episode_steps or world.visit[b] >= rules.visits
    if world.begun[b]:
        world.episode[b] = 0 if everywhere else world.episode[b] + 1
        world.seeds[b] = rules.first_seed + world.episode[b] * rules.seed_stride + b
        world.episode_step[b] = 0
        world.visit[b] = 0
        world.prev_action[b] = 0
        world.prev_reward[b] = 0
        world.first[b] = True
        world.bonus[b] = 0


@cuda.jit
def _write(world, rules):
    path = cuda.local.array((_MOST_ROOMS, 2), np.int64)
    deck = cuda.local.array(DECK, np.int64)
    b = cuda.grid(1)
    if b < len(world.visit) and world.begun[b]:
        _write_one(world, rules, b, path, deck)


@njit(cache=True)
def _write_one(world, rules, b, path, deck):
    write_maze(
        np.uint64(world.seeds[b]),
        rules.kind,
        rules.extra_openings,
        rules.first_texture,
        rules.textures,
        world.open[b],
        world.texture[b],
        world.goal[b],
        world.start[b],
        path,
        deck,
    )
    if rules.domain_rand:
        write_look(np.uint64(world.seeds[b]), world.open[b], world.texture[b], world.look[b])
        exact.write_lights(world.look[b], world.goal[b], world.lights[b])


@cuda.jit
def _write_fields(world, rules, grid):
    """Write a steps-to-go field, a block each: `paths.write_fields` up to its tolerance.

    Points are lowered in no particular order until none falls any more; by monotony all orders end alike.
    """
    b, thread, threads = cuda.blockIdx.x, cuda.threadIdx.x, cuda.blockDim.x
    if world.begun[b]:
        values = cuda.local.array(_MOST_HEADINGS, np.float32)
        _start_field(world, rules, grid.way, grid.places, b, thread, threads)
        cuda.syncthreads()
        while cuda.syncthreads_or(_lower_field(world, rules, grid.way, b, thread, threads, values)):
            pass


@njit(cache=True)
def _start_field(world, rules, way, places, b, thread, threads):
    field = world.fields[b]
    for point in range(thread, field.shape[0] * field.shape[1], threads):
        i, j = point // field.shape[1], point % field.shape[1]
        paths.start_point(
            world.open[b],
            world.goal[b],
            field,
            world.ahead[b],
            way,
            rules.stride,
            rules.near,
            i,
            j,
            places[i],
            places[j],
        )


@njit(cache=True)
def _lower_field(world, rules, way, b, thread, threads, values):
    """Lower a thread's points once; return whether any fell."""
    field = world.fields[b]
    fell = 0
    for point in range(thread, field.shape[0] * field.shape[1], threads):
        i, j = point // field.shape[1], point % field.shape[1]
        if field[i, j, 0] > 0:
            room = values[: field.shape[2]]
            fell |= paths.relax_point(field, world.ahead[b], way, rules.stride, rules.spacing, i, j, 0.0, room)
    return fell


@cuda.jit
def _put(world, rules, ways):
    b = cuda.grid(1)
    if b < len(world.visit) and world.begun[b]:
        _put_one(world, rules, ways, b)


@cuda.jit
def _search(world, ways):
    """Do what `search.begin_one`, `advance_one` and `measure_one` do to what is known, a block each."""
    b, thread, threads = cuda.blockIdx.x, cuda.threadIdx.x, cuda.blockDim.x
    task = world.looks[b]
    if task != _NOTHING:
        cuda.syncthreads()  # all have read the task
        if task == _BEGIN:
            _forget(world, b, thread, threads)
            cuda.syncthreads()
        new = 0 if task == _MEASURE else _look_around(world, ways, b, thread, threads)
        if cuda.syncthreads_or(new | (task != _LOOK)):
            unsearched = cuda.syncthreads_or(_find_unsearched(world, b, thread, threads))
            _start_rooms(world, b, thread, threads, unsearched != 0)
            cuda.syncthreads()
            while cuda.syncthreads_or(_lower_rooms(world, ways, b, thread, threads)):
                pass
        if thread == 0:
            world.looks[b] = _NOTHING


@njit(cache=True)
def _forget(world, b, thread, threads):
    """Make all places of rooms unseen."""
    unseen = world.unseen[b]
    for n in range(thread, unseen.size, threads):
        i, j, a, c = _place_of(unseen, n)
        unseen[i, j, a, c] = world.open[b, 2 * i, 2 * j]


@njit(cache=True)
def _look_around(world, ways, b, thread, threads):
    """Mark a thread's places in sight as seen; return whether any was not."""
    unseen = world.unseen[b]
    new = 0
    for n in range(thread, unseen.size, threads):
        i, j, a, c = _place_of(unseen, n)
        new |= search.look_at(unseen, world.open[b], world.poses[b], ways.half_width, i, j, a, c)
    return new


@njit(forceinline=True)
def _place_of(unseen, n):
    """Return room and place of the n-th of a maze's places."""
    room, part = n // (search.PLACES * search.PLACES), n % (search.PLACES * search.PLACES)
    columns = unseen.shape[1]
    return room // columns, room % columns, part // search.PLACES, part % search.PLACES


@njit(cache=True)
def _find_unsearched(world, b, thread, threads):
    """Return whether any of a thread's rooms has not been searched."""
    unseen = world.unseen[b]
    found = 0
    for n in range(thread, unseen.shape[0] * unseen.shape[1], threads):
        found |= search.is_unsearched(unseen[n // unseen.shape[1], n % unseen.shape[1]])
    return found


@njit(cache=True)
def _start_rooms(world, b, thread, threads, unsearched):
    """Write how far away a thread's rooms are before neighbours are asked."""
    unseen, away = world.unseen[b], world.away[b]
    for n in range(thread, unseen.shape[0] * unseen.shape[1], threads):
        i, j = n // unseen.shape[1], n % unseen.shape[1]
        search.start_room(unseen[i, j], away[i, j], unsearched)


@njit(cache=True)
def _lower_rooms(world, ways, b, thread, threads):
    """Lower a thread's rooms once; return whether any fell."""
    away = world.away[b]
    fell = 0
    for n in range(thread, away.shape[0] * away.shape[1], threads):
        fell |= search.lower_room(away, ways, world.open[b], n // away.shape[1], n % away.shape[1])
    return fell


@njit(cache=True)
def _put_one(world, rules, ways, b):
    """Put the agent where its present visit begins."""
    pose = world.poses[b]
    simulator.put(
        world.open[b],
        world.start[b],
        world.goal[b],
        np.uint64(world.seeds[b]),
        0 if rules.same_start else world.visit[b],
        rules.respawn_distance,
        pose,
    )
    for k in range(3):
        world.starts[b, k] = pose[k]
    world.visit_step[b] = 0
    if rules.learnt:
        world.steps_to_go[b] = paths.steps_to_go(world.fields[b], pose, rules.spacing, rules.turn_step)
        trail.begin_one(world.entered[b], pose)
        world.sighted[b] = False
        world.looks[b] = _NOTHING
        if rules.guided and world.visit[b] == 0:
            world.looks[b] = _BEGIN
            world.sighted[b] = goal_in_sight(world.open[b], world.goal[b], pose, ways.half_width)


@cuda.jit
def _step(world, rules, ways, actions):
    b = cuda.grid(1)
    if b < len(world.visit):
        _step_one(world, rules, ways, b, actions[b])


@njit(forceinline=True)
def _next_step(world, rules, b):
    """Return what the next action makes in one maze: metres forward and to the right, radians of a turn."""
    if rules.domain_rand:
        seed, count = np.uint64(world.seeds[b]), world.episode_step[b]
        return looks.draw_step(seed, count, rules.forward_step, rules.turn_degrees)
    return rules.forward_step, 0.0, rules.turn_step


@njit(cache=True)
def _step_one(world, rules, ways, b, action):
    """Make one action in one maze: `MazeEnvironment.step`."""
    pose = world.poses[b]
    x, z, heading = pose[0], pose[1], pose[2]
    forward, drift, turn = _next_step(world, rules, b)
    found = simulator.move(world.open[b], world.goal[b], pose, action, forward, turn, rules.near, drift)
    world.episode_step[b] += 1
    world.visit_step[b] += 1
    world.prev_action[b] = action
    world.prev_reward[b] = GOAL_REWARD if found else 0.0
    world.first[b] = False
    world.ended[b] = found or world.visit_step[b] >= rules.visit_cap
    world.ended_visit[b] = world.visit[b]
    world.ended_latency[b] = world.visit_step[b]
    world.ended_found[b] = found
    if rules.learnt:
        steps_to_go = np.float32(0)
        if not found:
            steps_to_go = np.float32(paths.steps_to_go(world.fields[b], pose, rules.spacing, rules.turn_step))
        world.bonus[b] = 0.0
        if world.visit[b] > 0 or world.sighted[b]:  # before, nobody can know where the goal is
            world.bonus[b] = rules.shaping * (world.steps_to_go[b] - steps_to_go)
        elif rules.guided and not found:
            nearer = search.steps_shortened(world.unseen[b], world.away[b], ways, world.open[b], x, z, heading, pose)
            world.bonus[b] = rules.shaping * np.float32(nearer)
            world.looks[b] = _LOOK
            world.sighted[b] = goal_in_sight(world.open[b], world.goal[b], pose, ways.half_width)
        world.steps_to_go[b] = steps_to_go
        if trail.follow_one(world.entered[b], x, z, pose) and world.visit[b] == 0:
            world.bonus[b] += rules.coverage
    if world.ended[b]:
        world.visit[b] += 1
        _put_one(world, rules, ways, b)


@cuda.jit
def _hint(world, rules, ways, hints):
    after = cuda.local.array(3, np.float64)
    b = cuda.grid(1)
    if b < len(world.visit):
        _hint_one(world, rules, ways, hints, b, after)


@njit(cache=True)
def _hint_one(world, rules, ways, hints, b, after):
    """Say what `MazeEnvironment.hints` does: where the agent was, where the goal is, and which actions lead there."""
    pose = world.poses[b]
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    first = 0
    if rules.ask_view:
        view.write_one(world.open[b], pose, rules.half_width, hints.target[b])
        first += len(view.QUESTIONS)
    if rules.ask_place:
        hints.target[b, first] = (pose[0] - rules.middle_x) / HINT_SCALE
        hints.target[b, first + 1] = (pose[1] - rules.middle_z) / HINT_SCALE
        hints.target[b, first + 2], hints.target[b, first + 3] = cos, sin
        first += len(PLACE)
    for k in range(first):
        hints.known[b, k] = True
    if rules.ask_trail:
        trail.write_one(world.entered[b], world.open[b], pose, hints.target[b, first:], hints.known[b, first:])
        first += len(trail.QUESTIONS)
    dx, dz = world.goal[b, 0] - pose[0], world.goal[b, 1] - pose[1]
    ahead, right = dx * cos - dz * sin, dx * sin + dz * cos
    hints.target[b, first] = ahead / HINT_SCALE
    hints.target[b, first + 1] = right / HINT_SCALE
    hints.target[b, first + 2] = np.hypot(ahead, right) / HINT_SCALE
    step, nearer = _next_step(world, rules, b), hints.target[b, first + 3 :]
    known = world.visit[b] > 0 or world.sighted[b]
    for k in range(first, hints.known.shape[1]):
        hints.known[b, k] = known
    if rules.guided and not known:
        told = search.write_progress(
            world.unseen[b], world.away[b], ways, world.open[b], world.goal[b], world.poses[b], step, rules.near,
            after, nearer,
        )  # fmt: skip
        for k in range(first + 3, hints.known.shape[1]):
            hints.known[b, k] = told
    else:
        paths.write_progress(
            world.open[b], world.goal[b], world.fields[b], world.poses[b], step, rules.near, rules.spacing,
            rules.turn_step, after, nearer,
        )  # fmt: skip


@cuda.jit
def _look(world, pyramids, film, columns):
    walls = cuda.local.array(_OF_WALLS, np.float64).view(WALL_IN_VIEW)
    near = cuda.local.array(SAMPLES, np.float64)
    c = cuda.grid(1)
    if c < len(columns.ray):
        sight = _Sight(film.horizon, near, columns.edges[c], columns.box[c])
        _look_one(world, pyramids, film, c, walls, sight, columns.ray[c], columns.walls[c])


@njit(error_model="numpy", cache=True)
def _look_one(world, pyramids, film, c, walls, sight, ray, told):
    """Find what a column sees, and write its `_Columns`; `told` is its walls there."""
    height, width = film.frames.shape[1:3]
    b, column = c // width, c % width
    pixel = 2 * renderer.TAN_HALF_FOV / height
    centre = SAMPLES * (width / 2 - column) - 0.5
    x, z = world.poses[b, 0], world.poses[b, 1]
    cos, sin = np.cos(world.poses[b, 2]), np.sin(world.poses[b, 2])
    renderer.find_walls(world.open[b], world.texture[b], x, z, cos, sin, pixel, height, centre, walls, sight)
    lateral = (column + 0.5 - width / 2) * pixel
    ray[0], ray[1] = cos + lateral * sin, lateral * cos - sin
    n, end = 0, 0
    while end < SAMPLES:
        on_wall = renderer.place_on(renderer.plane_of(walls[n], pyramids), lateral, pixel, height)
        told[n, 0], told[n, 1], told[n, 2], told[n, 3] = on_wall
        end = told[n, 4] = walls[n].end
        told[n, 5], told[n, 6] = walls[n].texture, walls[n].side
        n += 1
    for m in range(SAMPLES):
        sight.box[0, m] = sight.box[1, m] = sight.box[2, m] = height
    renderer.find_box(world.goal[b], x, z, cos, sin, pixel, height, centre, sight)


@cuda.jit
def _draw(world, ground, pyramids, film, columns):
    n = cuda.grid(1)
    c, row = n // _ROWS, n % _ROWS
    if c < len(columns.ray):
        _draw_rows(
            world, ground, pyramids, film, c, row, columns.ray[c], columns.walls[c], columns.edges[c], columns.box[c]
        )


@njit(error_model="numpy", cache=True)
def _draw_rows(world, ground, pyramids, film, c, first, ray, walls, edges, box):
    """Draw every `_ROWS`th pixel of a column: what `renderer.render` does with strips, here texel by texel."""
    frames = film.frames
    b, column = c // frames.shape[2], c % frames.shape[2]
    height = frames.shape[1]
    x, z, dx, dz = world.poses[b, 0], world.poses[b, 1], ray[0], ray[1]
    red, side = np.uint64(renderer.HALF + (255 << renderer.GREY_BITS)), np.uint64(0)
    # Most rows see one thing alone. Here walls begin and end in some samples, and in all.
    top, inner_top, inner_bottom, bottom = height, 0, height, 0
    box_top, box_bottom = height, 0
    for m in range(SAMPLES):
        top, inner_top = min(top, edges[0, m]), max(inner_top, edges[0, m])
        inner_bottom, bottom = min(inner_bottom, edges[1, m]), max(bottom, edges[1, m])
        if box[0, m] < box[2, m]:
            side, box_top, box_bottom = np.uint64(box[3, m]), min(box_top, box[0, m]), max(box_bottom, box[2, m])
    one_wall = walls[0, 4] >= SAMPLES
    loaded = -1
    for row in range(first, height, _ROWS):
        line = np.uint64(row)  # an index that need not be checked for its sign
        colour = np.uint64(0)
        all_see_walls = inner_top <= row < inner_bottom
        if not all_see_walls:
            depth = ground.depth[line]
            u = renderer.wrap((x + depth * dx) * (ground.repeats[line, 0] * renderer.FIXED))
            v = renderer.wrap((z + depth * dz) * (ground.repeats[line, 1] * renderer.FIXED))
            start, log_width, log_height = (
                ground.start[line, np.uint64(column)],
                ground.log_width[line],
                ground.log_height[line],
            )
            colour = renderer.look_between(ground.strips, start, u, v, log_width, log_height)
            if not one_wall:
                colour &= ~renderer.BELOW_QUARTERS
        behind = colour
        n, begin = 0, 0
        while top <= row < bottom and begin < SAMPLES:
            end = walls[n, 4]
            all_see_one = one_wall and all_see_walls
            samples = SAMPLES if all_see_one else renderer.seen_by(edges, 0, begin, end, row)
            if samples > 0:
                if n != loaded:
                    level, u_wall, v_wall, dv = walls[n, 0], walls[n, 1], walls[n, 2], walls[n, 3]
                    texture, light = walls[n, 5], renderer.light_on(walls[n, 6])
                    (wall_a, wall_b, wall_c, wall_d), weights, rest, length = renderer.columns_at(
                        pyramids.levels, texture, level, u_wall, light
                    )
                    starts = _word(wall_a), _word(wall_b), _word(wall_c), _word(wall_d)
                    v_wall -= pyramids.levels[texture, level >> 8, 4]  # from its lowest texel's middle on
                    loaded = n
                place = np.uint64(v_wall - row * dv) << np.uint64(32)
                whole, share = renderer.place_in(place, np.uint64(length))
                texel = np.uint32(whole)
                above = np.uint32(texel + np.uint32(1))
                if above >= np.uint32(length):
                    above = np.uint32(0)
                new = renderer.mix(
                    _lit_texel(pyramids.texels, starts, texel, weights, rest),
                    _lit_texel(pyramids.texels, starts, above, weights, rest),
                    share,
                )
                colour = new if samples == SAMPLES else renderer.replace(colour, behind, new, samples)
            begin = end
            n += 1
        if box_top <= row < box_bottom:
            on_top = renderer.seen_by(box, 0, 0, SAMPLES, row)
            on_side = renderer.seen_by(box, 1, 0, SAMPLES, row)
            colour = renderer.replace(colour, colour, side, on_top + on_side)
            colour = renderer.replace(colour, side, red, on_top)
        for channel in range(3):
            shift = np.uint64(16 * channel + renderer.GREY_BITS)
            frames[np.uint64(b), line, np.uint64(column), np.uint64(channel)] = np.uint8(
                colour >> shift & np.uint64(255)
            )


@njit(forceinline=True)
def _word(column):
    """Return where a column of texels begins, given in bytes, in words; 32 bits are a GPU's own size."""
    return np.uint32(column >> np.uint64(2))


@njit(forceinline=True)
def _lit_texel(texels, starts, n, weights, rest):
    """Return the packed colour that a column has at texel n: what `renderer.lit` makes of each channel, two at once."""
    a, b = texels[np.uint32(starts[0] + n)], texels[np.uint32(starts[1] + n)]
    c, d = texels[np.uint32(starts[2] + n)], texels[np.uint32(starts[3] + n)]
    red_blue = _weighted(a & _EVEN, b & _EVEN, c & _EVEN, d & _EVEN, weights) + np.uint32(rest) * np.uint32(0x1_0001)
    green = _weighted(a >> _BYTE & _EVEN, b >> _BYTE & _EVEN, c >> _BYTE & _EVEN, d >> _BYTE & _EVEN, weights)
    green = np.uint32(green + np.uint32(rest)) >> np.uint32(7)
    red_blue = np.uint32(red_blue) >> np.uint32(7) & np.uint32(0x01FF_01FF)
    red_green = np.uint32(red_blue & np.uint32(0xFFFF) | green << np.uint32(16))
    return np.uint64(red_green) | np.uint64(red_blue >> np.uint32(16)) << np.uint64(32)


@njit(forceinline=True)
def _weighted(a, b, c, d, weights):
    """Return the weighted sum of even bytes, in 16 bits each, which do not overflow: weights are below 256 together."""
    return np.uint32(a * weights[0] + b * weights[1] + c * weights[2] + d * weights[3])


@cuda.jit
def _draw_exact(world, pyramids, film):
    """Draw the pictures of mazes with looks, a block each."""
    walls = cuda.local.array(_OF_WALL, np.float64).view(WALL_IN_VIEW)
    seen = cuda.local.array((SAMPLES, 1), np.int64)
    _draw_pixels(world, pyramids, film.frames, cuda.blockIdx.x, cuda.threadIdx.x, cuda.blockDim.x, walls, seen)


@njit(error_model="numpy", cache=True)
def _draw_pixels(world, pyramids, frames, b, first, step, walls, seen):
    """Draw every step-th pixel of a picture: `exact.render`."""
    height, width = frames.shape[1:3]
    open_, texture, goal, lights = world.open[b], world.texture[b], world.goal[b], world.lights[b]
    camera = exact.aim(world.look[b], world.poses[b], height)
    cos_goal, sin_goal = np.cos(goal[2]), np.sin(goal[2])
    wall = walls[0]
    for pixel in range(first, height * width, step):
        row, column = pixel // width, pixel % width
        number, lateral, until = 0, 0.0, -np.inf
        for k in range(SAMPLES):
            slope, ahead = exact.level(camera, height / 2 - row - SAMPLE_Y[k])
            before, lateral = lateral, (column + exact.sample_from_left(k, width)) * (camera.pixel / ahead)
            if not before <= lateral < until:  # as a rule all samples meet one wall
                number, until = exact.find_wall(open_, texture, camera, lateral, wall)
            near, near_slope = wall.near, wall.near_slope
            seen[k, 0], _ = exact.see(camera, lateral, slope, number, near, near_slope, goal, cos_goal, sin_goal)
        slope, ahead = exact.level(camera, height / 2 - row - 0.5)
        lateral = (column + 0.5 - width / 2) * camera.pixel / ahead
        colour = exact.mix(seen, 0, texture, camera, lateral, slope, ahead, pyramids, wall, lights)
        for channel in range(3):
            frames[b, row, column, channel] = np.uint8(colour[channel])
