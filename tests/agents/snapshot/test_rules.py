"""Ignore rules mean what they mean to git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.snapshot import walk as walking
from agents.snapshot.errors import SnapshotError
from agents.snapshot.rules import RuleBook, Rules
from agents.snapshot.spec import parse_spec
from agents.snapshot.walk import walk
from hibernation.domain.ignore import DEFAULT_RULES
from tests.agents.snapshot.harness import Box

NAMES = ("a", "b", "ab.pyc", "foo")
QUIET = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "PATH": os.environ["PATH"]}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories of two levels, each with a file of every name that is not a directory there."""
    root = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", root], check=True, env=QUIET)
    folders = [root / one / two for one in ("", "a", "foo", "d") for two in ("", "b", "foo", "d")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for file in [folder / name for folder in folders for name in NAMES]:
        if not file.exists():
            file.touch()
    return root


def kept_by_git(root: Path, lines: list[str]) -> set[str]:
    (root / ".git" / "info" / "exclude").write_text("\n".join(lines) + "\n")
    command = ["git", "-C", root, "ls-files", "-z", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=True, env=QUIET, capture_output=True).stdout
    return {name.decode() for name in listed.split(b"\0") if name}


def kept(root: Path, *lines: str) -> set[str]:
    return {found.path for found in walk(str(root), RuleBook(lines, (".git",))).files}


PART = st.sampled_from(["a", "b", "d", "foo", "*", "a*", "*.pyc", "?", "[ab]", "[!a]", "*o*", "ab.pyc"])
BODY = st.lists(PART, min_size=1, max_size=3).map("/".join)
STARS = st.sampled_from(["", "**/", "**/d/"])
RULE = st.builds(
    lambda no, root, stars, body, slash: no + root + stars + body + slash,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    STARS,
    BODY,
    st.sampled_from(["", "", "/", "/**"]),
).filter(lambda line: "*/*/**" not in line)  # pathspec takes **/*/** for everything


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(RULE, max_size=6))
def test_any_rules_keep_what_git_keeps(repository: Path, lines: list[str]) -> None:
    assert kept(repository, *lines) == kept_by_git(repository, lines)


@pytest.mark.parametrize(
    "lines",
    [
        ["*.pyc", "!d/ab.pyc"],
        ["foo/", "!foo/a"],
        ["foo/*", "!foo/d"],
        ["/*", "!/d"],
        ["a/**/b"],
        ["**/foo/**"],
        ["# comment", "", "   ", "\\#a", "a  "],
        ["\\a", "[", "a\\"],
        ["!a", "a"],
        ["d/foo", "!foo"],
        ["*", "!*/", "!*.pyc"],
        ["*", "!*/", "!d/[ab]  "],
        ["d/*", "![!a]/ "],
    ],
)
def test_git_keeps_the_same(repository: Path, lines: list[str]) -> None:
    usable = [line for line in lines if not line.endswith("\\")]
    assert kept(repository, *usable) == kept_by_git(repository, usable)


def test_a_line_that_is_no_rule_is_named() -> None:
    with pytest.raises(ValueError, match="line 2, '!'"):
        Rules(["a", "!"])


@pytest.mark.parametrize("line", ["log[[:digit:]]", "![[:upper:]]*/"])
def test_a_named_class_is_refused_for_it_would_be_misread(line: str) -> None:
    with pytest.raises(ValueError, match="named classes"):
        Rules([line])


def test_the_default_rules_are_rules_and_leave_work_alone(tmp_path: Path) -> None:
    for path in (
        "src/__pycache__/m.pyc", "root/.cache/pip/x", "opt/miniconda3/pkgs/n.conda", "lost+found/x",
        "src/m.py", "src/lost+found/y", "root/.cache/huggingface/hub/z", "opt/miniconda3/pkgs/n/lib.so", "pkgs/n.conda",
    ):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert kept(tmp_path, *DEFAULT_RULES) == {
        "src/m.py",
        "src/lost+found/y",
        "root/.cache/huggingface/hub/z",
        "opt/miniconda3/pkgs/n/lib.so",
        "pkgs/n.conda",
    }


def test_names_that_are_not_text_are_matched_too(tmp_path: Path) -> None:
    for name in (b"caf\xe9.tmp", b"new\nline.tmp", b"keep\xff"):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).touch()
    assert kept(tmp_path, "*.tmp") == {"keep\udcff"}


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(walking, "MOST_COUNTED", 5)
    return 5


def fill(root: Path) -> None:
    (root / "cache" / "deep").mkdir(parents=True)
    (root / "cache" / "one").write_bytes(b"x" * 100)
    (root / "cache" / "deep" / "two").write_bytes(b"x" * 50)
    (root / "log.tmp").write_bytes(b"x" * 7)


def test_what_is_left_out_is_summed(tmp_path: Path) -> None:
    fill(tmp_path)
    tree = walk(str(tmp_path), RuleBook(("cache/", "*.tmp")))
    assert sorted(tree.left_out) == [("cache", "cache/", 2, 150), ("log.tmp", "*.tmp", 1, 7)]
    assert tree.is_counted
    assert [row.path for row in tree.dirs] == [""]


def test_counting_ends_at_its_bound_and_says_so(tmp_path: Path, limit: int) -> None:
    fill(tmp_path)
    for number in range(2 * limit):
        (tmp_path / "cache" / f"more{number}").write_bytes(b"x")
    tree = walk(str(tmp_path), RuleBook(("cache/",)))
    assert not tree.is_counted
    assert tree.left_out[0].files <= limit


def test_the_agents_own_files_are_left_out_in_silence(tmp_path: Path) -> None:
    fill(tmp_path)
    tree = walk(str(tmp_path), RuleBook(("!cache",), ("cache", "log.tmp")))
    assert (tree.files, tree.left_out) == ([], [])


@pytest.mark.parametrize("ignore", ["*.tmp", [1], ["ok", "!"], ["\ud800"], None])
def test_orders_with_lines_that_are_no_rules_are_refused(box: Box, ignore: object) -> None:
    with pytest.raises(SnapshotError, match="ignore") as failure:
        parse_spec(box.freeze_spec("s1", ignore=ignore))
    assert failure.value.code == "bad_spec"
