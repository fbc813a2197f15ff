"""What a killed process leaves beside its output, and who may remove it."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from limner.core.files import check_output, new_folder, sweep, write_file

fcntl = pytest.importorskip("fcntl", reason="this system has no flock")
DEAD, RETIRED = ".out.0123abcd.partial", ".out.0123abcd.retired"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_next_one_to_write_the_same_removes_it(tmp_path: Path) -> None:
    (tmp_path / DEAD).mkdir()
    (tmp_path / DEAD / "half").write_bytes(b"half")
    (tmp_path / ".other.0123abcd.partial").write_bytes(b"of somebody else")
    (tmp_path / ".out.notes.partial").write_bytes(b"of a person")
    with new_folder(tmp_path / "out") as beside:
        (beside / "file").write_bytes(b"whole")
    assert names(tmp_path) == [".other.0123abcd.partial", ".out.notes.partial", "out"]
    check_output(tmp_path / "other", force=False)
    assert names(tmp_path) == [".out.notes.partial", "out"]


@pytest.mark.parametrize("partial", [True, False])
def test_what_a_killed_one_had_put_aside_returns(partial: bool, tmp_path: Path) -> None:
    (tmp_path / RETIRED).mkdir()
    (tmp_path / RETIRED / "file").write_bytes(b"old")
    if partial:
        (tmp_path / DEAD).mkdir()
    sweep(tmp_path)
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out/file").read_bytes() == b"old"


def test_what_is_being_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as beside:
        sweep(tmp_path)
        check_output(tmp_path / "out", force=True)
        assert names(tmp_path) == [beside.name, "out"]
        (tmp_path / "out").rename(beside.with_suffix(".retired"))  # as it does for a moment at its end
        sweep(tmp_path)
        assert names(tmp_path) == [beside.name, beside.with_suffix(".retired").name]


@pytest.fixture
def crowd() -> Callable[[Callable[[int], None]], None]:
    """Runs one function in several threads at a time."""

    def run(work: Callable[[int], None]) -> None:
        faults: list[BaseException] = []

        def guarded(number: int) -> None:
            try:
                work(number)
            except BaseException as fault:
                faults.append(fault)

        threads = [threading.Thread(target=guarded, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []

    return run


def test_writers_of_one_file_do_not_take_each_other_for_dead(
    crowd: Callable[[Callable[[int], None]], None], tmp_path: Path
) -> None:
    def write(number: int) -> None:
        for _ in range(40):
            check_output(tmp_path / "out", force=True)
            write_file(tmp_path / "out", bytes([number]) * 100)

    crowd(write)
    assert names(tmp_path) == ["out"]
    assert len(set((tmp_path / "out").read_bytes())) == 1


def test_an_error_names_the_output_and_not_what_lies_beside_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="out") as raised:
        write_file(tmp_path / "missing" / "out", b"")
    assert raised.value.filename == str(tmp_path / "missing" / "out")
    with pytest.raises(OSError, match="No space") as raised, new_folder(tmp_path / "out") as beside:
        raise OSError(28, os.strerror(28), str(beside / "images.npy"))
    assert raised.value.filename == str(tmp_path / "out")
    with pytest.raises(OSError, match="100 requested and 0 written") as raised, new_folder(tmp_path / "out"):
        raise OSError("100 requested and 0 written")  # as numpy does
    assert raised.value.filename == str(tmp_path / "out")
