"""A name holds the whole old content or the whole new content, never a part."""

import os
from pathlib import Path

import pytest

from nucleipel.core.atomic import replacing, write_json, write_text


def test_new_file_appears_only_when_complete(tmp_path: Path) -> None:
    target = tmp_path / "result.txt"
    with replacing(target) as temporary:
        temporary.write_text("complete")
        assert not target.exists()
        assert temporary.parent == tmp_path, "a rename stays on one file system"
    assert target.read_text() == "complete"
    assert list(tmp_path.iterdir()) == [target]


def test_old_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "result.txt"
    target.write_text("old")
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_failure_leaves_the_old_file_and_no_partial(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    target = tmp_path / "result.txt"
    target.write_text("old")
    with pytest.raises(failure, match="half way"), replacing(target) as temporary:
        temporary.write_text("ne")
        raise failure("half way")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_failure_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too early"), replacing(tmp_path / "result.txt"):
        raise OSError("too early")
    assert not list(tmp_path.iterdir())


def test_failed_rename_leaves_the_old_file_and_no_partial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "result.txt"
    target.write_text("old")

    def refuse(self: Path, target: Path) -> None:
        raise OSError("no rename today")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="no rename today"):
        write_text(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_content_is_synced_before_the_rename_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = []
    fsync, replace = os.fsync, Path.replace

    def spy_on_fsync(descriptor: int) -> None:
        events.append("folder" if os.path.isdir(descriptor) else "file")  # noqa: PTH112
        fsync(descriptor)

    def spy_on_replace(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", spy_on_fsync)
    monkeypatch.setattr(Path, "replace", spy_on_replace)
    write_text(tmp_path / "result.txt", "new")
    assert events == ["file", "rename", "folder"]


def test_stale_partial_of_a_killed_run_is_no_obstacle(tmp_path: Path) -> None:
    target = tmp_path / "result.txt"
    with replacing(target) as temporary:
        temporary.write_text("first")
    temporary.write_text("left behind by kill -9")
    write_text(target, "second")
    assert target.read_text() == "second"
    assert list(tmp_path.iterdir()) == [target]


def test_text_is_utf8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "result.txt", "5 µm²\n2\n")
    assert (tmp_path / "result.txt").read_bytes() == "5 µm²\n2\n".encode()


def test_json_keeps_its_order(tmp_path: Path) -> None:
    write_json(tmp_path / "result.json", {"b": [1, 2.5], "a": None})
    assert (tmp_path / "result.json").read_text() == (
        '{\n  "b": [\n    1,\n    2.5\n  ],\n  "a": null\n}\n'
    )


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    write_json(target, 1)
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(target, {"path": tmp_path})
    assert target.read_text() == "1\n"
    assert list(tmp_path.iterdir()) == [target]
