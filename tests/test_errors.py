import errno
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from nav_meta.errors import UserError, exit_on_user_error
from nav_meta.files import require_writable, write_atomically


def raiser(error):
    def call(*_):
        raise error

    return call


def test_success_is_exit_code_zero(capsys):
    assert exit_on_user_error(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("no such maze: use 2 to 15 rooms."), 2, "error: no such maze: use 2 to 15 rooms.\n"),
        (UserError("two\nlines"), 2, "error: two lines\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (OSError(errno.ENOSPC, "x", "/a/file"), 2, "error: /a/file: the disk is full, free some space\n"),
        (OSError(errno.ENOSPC, "x"), 2, "error: writing failed: the disk is full, free some space\n"),
        (OSError(errno.EACCES, "x", "/a"), 2, "error: /a: permission denied, choose a place you may use\n"),
        (OSError(errno.EROFS, "x", "/a"), 2, "error: /a: the file system is read-only, choose another place\n"),
    ],
)
def test_one_line_and_exit_code(error, code, line, capsys):
    assert exit_on_user_error(raiser(error)) == code
    assert capsys.readouterr() == ("", line)


def test_the_line_is_written_in_one_piece_so_that_processes_do_not_mix_theirs(monkeypatch):
    pieces = []
    monkeypatch.setattr("sys.stderr", types.SimpleNamespace(write=pieces.append))
    assert exit_on_user_error(raiser(UserError("one sentence."))) == 2
    assert pieces == ["error: one sentence.\n"]


@pytest.mark.parametrize("error", [ValueError("ours"), OSError(errno.EPIPE, "broken pipe"), SystemExit(3)])
def test_other_errors_keep_their_traceback(error):
    with pytest.raises(type(error)):
        exit_on_user_error(raiser(error))


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_reader_that_goes_ends_the_program_without_a_word(size):
    program = f"import sys, nav_meta.errors; sys.exit(nav_meta.errors.exit_on_user_error(lambda: print('a ' * {size})))"
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run([sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_table_whose_reader_goes_ends_the_program_as_any_output():
    program = (
        "import sys; from nav_meta import errors, report\n"
        "sys.exit(errors.exit_on_user_error(lambda: report.show(([''], []))))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run([sys.executable, "-c", program], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(closed):
    program = "import sys, nav_meta.errors as e; sys.exit(e.exit_on_user_error(lambda: (print(1), e.say('2'), 3)[-1]))"
    assert subprocess.run(["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, program], check=False).returncode == 3


def test_say_goes_on_without_a_reader():
    program = "import sys, nav_meta.errors as e; e.say('1'); e.say('2'); print('3', file=sys.stderr); print('done')"
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=writer, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stdout) == (0, b"done\n")


def test_write_atomically_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["file"]


def test_what_cannot_be_written_is_told_before(tmp_path):
    require_writable(None)
    require_writable(tmp_path / "new folder" / "figures.json")
    require_writable(Path("/dev/null"))
    assert list((tmp_path / "new folder").iterdir()) == []
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "figures.json", Path("/proc/nothing/figures.json")):
        with pytest.raises(UserError, match=f"cannot write {path}: "):
            require_writable(path)


def test_write_atomically_keeps_the_old_file_when_interrupted(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"one")
    monkeypatch.setattr(os, "fsync", raiser(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"two")
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["file"]


def test_write_atomically_follows_links_and_spares_devices(tmp_path):
    file, link, pipe = tmp_path / "file", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(file)
    write_atomically(link, b"one")
    assert link.is_symlink() and file.read_bytes() == b"one"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, b"two")
    assert os.read(reader, 10) == b"two" and pipe.is_fifo()
    os.close(reader)
    assert sorted(os.listdir(tmp_path)) == ["file", "link", "pipe"]


def test_write_below_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot write .*file/x"):
        write_atomically(tmp_path / "file" / "x", b"")
