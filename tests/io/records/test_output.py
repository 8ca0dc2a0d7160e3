"""An output folder belongs to one run; only a finished one is read."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from nucleipel.errors import OutputError, StoreError
from nucleipel.io.records.output import claim_output, identity, read_record

RUN = {"stage": "tile", "config": {"patch_px": 256, "deep": {"a": 1}}, "inputs": {"images": "00"}}


def test_new_then_continued_then_complete(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    assert not claim_output(out, **RUN).complete
    again = claim_output(out, **RUN)
    assert not again.complete
    again.commit(patches=3)
    assert claim_output(out, **RUN).complete
    assert read_record(out, stage="tile")["patches"] == 3
    assert (out / "config.yaml").read_text() == "patch_px: 256\ndeep:\n  a: 1\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {"patch_px": 128, "deep": {"a": 1}}}, "config.patch_px 256 there, 128 now"),
        ({"config": {"patch_px": 256, "deep": {"a": 2}}}, "config.deep.a 1 there, 2 now"),
        ({"inputs": {"images": "ff"}}, "another images"),
        ({"stage": "train"}, "stage tile there, train now"),
    ],
)
def test_another_run_is_refused_without_overwrite(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    out = tmp_path / "out"
    claim_output(out, **RUN).commit()
    (out / "result").write_text("earlier")
    with pytest.raises(OutputError, match="holds another run") as caught:
        claim_output(out, **{**RUN, **change})
    assert message in str(caught.value)
    assert (out / "result").read_text() == "earlier"
    assert not claim_output(out, **{**RUN, **change}, overwrite=True).complete
    assert not (out / "result").exists()


def test_a_foreign_folder_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="is not empty and no output of nucleipel"):
        claim_output(tmp_path, **RUN, overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="is a file; expected a folder"):
        claim_output(tmp_path / "out", **RUN)
    with pytest.raises(OutputError, match="cannot be written"):
        claim_output(tmp_path / "out" / "below", **RUN)


def test_readers_want_a_finished_output_of_the_right_stage(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(StoreError, match="no such folder"):
        read_record(out, stage="tile")
    out.mkdir()
    with pytest.raises(StoreError, match=r"has no nucleipel\.json"):
        read_record(out, stage="tile")
    output = claim_output(tmp_path / "new", **RUN)
    with pytest.raises(StoreError, match="was not finished; run the same nucleipel tile"):
        read_record(output.folder, stage="tile")
    output.commit()
    with pytest.raises(
        StoreError, match=r"written by nucleipel tile; expected an output of .*train"
    ):
        read_record(output.folder, stage="train")


def test_identity_depends_on_what_made_it(tmp_path: Path) -> None:
    one = claim_output(tmp_path / "one", **RUN)
    one.commit(patches=1)
    other = claim_output(tmp_path / "other", **{**RUN, "inputs": {"images": "ff"}})
    assert identity(one.record) == identity(json.loads(json.dumps(one.record)))
    assert identity(one.record) != identity(other.record)


def test_an_output_written_with_a_word_of_before_is_the_same_output(tmp_path: Path) -> None:
    """`stained_as` was once spelled `colour`: its runs go on, and their hashes stay."""
    was = {**RUN, "config": {"stained_as": "colour", "tta": False}}
    now = {**RUN, "config": {"stained_as": "color", "tta": False}}
    old = claim_output(tmp_path / "old", **was)
    new = claim_output(tmp_path / "new", **now)
    made = {key: old.record[key] for key in ("stage", "version", "config", "inputs")}
    before = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()
    assert identity(old.record) == identity(new.record) == before
    assert new.record["config"]["stained_as"] == "color"
    old.commit()
    again = claim_output(tmp_path / "old", **now)
    assert again.complete
    assert again.record["config"]["stained_as"] == "colour", "what was written stays"
    with pytest.raises(OutputError, match=r"config\.stained_as color there, dye now"):
        claim_output(tmp_path / "old", **{**RUN, "config": {"stained_as": "dye", "tta": False}})


def test_a_claim_killed_at_any_moment_is_taken_up(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".nucleipel.json.partial").write_text('{"stage": "ti')
    assert not claim_output(out, **RUN).complete
    (out / "config.yaml").unlink()
    assert not claim_output(out, **RUN).complete


@pytest.mark.parametrize(
    ("name", "message"), [(b"caf\xe9", "no UTF-8"), (b"a" * 300, "File name too long")]
)
def test_a_folder_that_cannot_be_is_refused_at_once(
    tmp_path: Path, name: bytes, message: str
) -> None:
    with pytest.raises(OutputError, match=f"cannot be used: .*{message}"):
        claim_output(tmp_path / os.fsdecode(name), **RUN)
    assert not list(tmp_path.iterdir())
