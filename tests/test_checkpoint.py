import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from nav_meta import checkpoint
from nav_meta.errors import UserError

ROOT = Path(__file__).parents[1]


def contents():
    return {
        "weights": {"a": torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), "b": [1, 2.5, None, True, "x"]},
        "seeds": checkpoint.pack_array(np.array([2**64 - 1, 0, 7], dtype=np.uint64)),
        "numpy": np.random.default_rng(3).bit_generator.state,
        "torch": torch.Generator().manual_seed(4).get_state(),
    }


@pytest.fixture
def saved(tmp_path):
    path = checkpoint.path_of(tmp_path, 1234567)
    checkpoint.save(path, contents())
    return path


def test_what_goes_in_comes_out(saved):
    assert saved.name == "step_000001234567.pt"
    assert os.listdir(saved.parent) == [saved.name]
    loaded, expected = checkpoint.load(saved), contents()
    assert torch.equal(loaded["weights"]["a"], expected["weights"]["a"])
    assert loaded["weights"]["b"] == expected["weights"]["b"]
    assert checkpoint.unpack_array(loaded["seeds"]).tolist() == [2**64 - 1, 0, 7]
    generator = np.random.default_rng()
    generator.bit_generator.state = loaded["numpy"]
    assert generator.random() == np.random.default_rng(3).random()
    assert torch.equal(loaded["torch"], expected["torch"])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "uint64", "float32", "float64"])
def test_arrays_survive_with_shape_and_dtype(dtype, tmp_path):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)[::-1, :, ::2]
    checkpoint.save(
        tmp_path / "a.pt", {"array": checkpoint.pack_array(array), "scalar": checkpoint.pack_array(array[0, 0, 0])}
    )
    loaded = checkpoint.load(tmp_path / "a.pt")
    result = checkpoint.unpack_array(loaded["array"])
    np.testing.assert_array_equal(result, array)
    assert result.dtype == dtype and result.flags.writeable
    assert checkpoint.unpack_array(loaded["scalar"]).shape == ()


def test_a_packed_array_is_a_copy():
    array = np.zeros(2)
    packed = checkpoint.pack_array(array)
    array[:] = 1
    assert packed.sum() == 0


def test_plain_torch_reads_it_too(saved):
    assert torch.load(saved, weights_only=True)["nav_meta checkpoint"].keys() == contents().keys()


def test_contents_that_could_not_be_loaded_are_refused_and_the_old_file_stays(saved):
    with pytest.raises(pickle.UnpicklingError):
        checkpoint.save(saved, {"array": np.zeros(3)})
    assert checkpoint.load(saved).keys() == contents().keys()


def test_every_truncation_is_noticed(saved, tmp_path):
    data = saved.read_bytes()
    broken = tmp_path / "broken.pt"
    for length in [*range(200, len(data), 97), len(data) - 1]:
        broken.write_bytes(data[:length])
        with pytest.raises(checkpoint.BadCheckpoint, match="damaged"):
            checkpoint.load(broken)


def test_every_flipped_bit_is_noticed(saved, tmp_path):
    data = saved.read_bytes()
    broken = tmp_path / "broken.pt"
    for place in [*range(0, len(data), 23), *range(len(data) - 120, len(data))]:
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        broken.write_bytes(flipped)
        with pytest.raises(checkpoint.BadCheckpoint, match="damaged"):
            checkpoint.load(broken)


def test_foreign_files_are_named_as_such(tmp_path):
    torch.save({"weights": torch.zeros(3)}, tmp_path / "torch.pt")
    (tmp_path / "picture.pt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (tmp_path / "empty.pt").write_bytes(b"")
    for path in tmp_path.iterdir():
        with pytest.raises(checkpoint.BadCheckpoint, match="is not a nav_meta checkpoint"):
            checkpoint.load(path)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(UserError, match="cannot read the checkpoint"):
            checkpoint.load(path)


def test_newer_schema_asks_for_an_update_and_is_never_passed_over(saved, monkeypatch):
    newer = checkpoint.path_of(saved.parent, 2000000)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "SCHEMA", 2)
        checkpoint.save(newer, contents())
    for call in (lambda: checkpoint.load(newer), lambda: checkpoint.load_latest(saved.parent)):
        with pytest.raises(UserError, match="has schema 2, .* update nav_meta"):
            call()


def test_the_last_good_one_is_used(tmp_path, capsys):
    for step in (900, 1000, 1100, 1200):
        checkpoint.save(checkpoint.path_of(tmp_path, step), {"step": step})
    newest, second = checkpoint.path_of(tmp_path, 1200), checkpoint.path_of(tmp_path, 1100)
    newest.write_bytes(newest.read_bytes()[:-1])
    second.write_bytes(b"")
    path, loaded = checkpoint.load_latest(tmp_path)
    assert (path, loaded) == (checkpoint.path_of(tmp_path, 1000), {"step": 1000})
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 2 and str(newest) in warnings[0] and str(second) in warnings[1]


def test_a_copy_of_another_name_is_not_the_newest(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(checkpoint.path_of(tmp_path, step), {"step": step})
    checkpoint.save(tmp_path / "step_best.pt", {"step": 1})
    assert checkpoint.load_latest(tmp_path)[1] == {"step": 3}
    checkpoint.prune(tmp_path, keep=1)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["step_000000000003", "step_best"]


def test_no_good_one_is_a_sentence(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match="no good checkpoint"):
            checkpoint.load_latest(folder)


def test_prune_counts_good_ones_only(tmp_path):
    for step in range(1, 6):
        checkpoint.save(checkpoint.path_of(tmp_path, step), {"step": step})
    checkpoint.path_of(tmp_path, 5).write_bytes(b"damaged")
    checkpoint.prune(tmp_path, keep=2)
    assert sorted(path.name[-4:-3] for path in tmp_path.iterdir()) == ["3", "4", "5"]
    checkpoint.prune(tmp_path, keep=1)
    assert checkpoint.load_latest(tmp_path)[1] == {"step": 4}
    with pytest.raises(ValueError, match="keep"):
        checkpoint.prune(tmp_path, keep=0)


def test_full_disk_is_one_sentence_and_keeps_the_old(saved):
    # A limit on the file's size stands in for the full disk: the system refuses in the middle of the file.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        for path in (saved, checkpoint.path_of(saved.parent, 9999999)):
            with pytest.raises(UserError, match="cannot write .*: .*; what was there before is untouched"):
                checkpoint.save(path, {"large": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(saved.parent) == [saved.name]
    assert checkpoint.load(saved).keys() == contents().keys()


def test_unwritable_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")  # a folder below a file cannot be made, not even by root
    with pytest.raises(UserError, match="cannot write"):
        checkpoint.save(tmp_path / "file" / "a.pt", {})


def test_kill_at_any_instant_leaves_the_last_good_one(tmp_path):
    script = f"""
        import torch
        from pathlib import Path
        from nav_meta import checkpoint
        step = 0
        while True:
            step += 1
            path = checkpoint.path_of(Path({str(tmp_path)!r}), step % 3)
            checkpoint.save(path, {{"step": torch.full((300_000,), step)}})
            print(step, flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    delays = random.Random(0)
    for _ in range(4):
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(3):
                process.stdout.readline()
            time.sleep(delays.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            done = [int(line) for line in process.stdout.read().split()]
        found = []
        for path in tmp_path.glob("*.pt"):
            values = checkpoint.load(path)["step"]
            assert (values == values[0]).all()
            found.append(int(values[0]))
        assert max(found) >= max([3, *done])
