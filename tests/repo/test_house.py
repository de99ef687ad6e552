"""The shape of the repository: every package has its layer, and no file speaks of one machine."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ORDER = (
    *("commands", "report", "trace", "kernel", "kapi", "modules"),
    *("sanitizers", "mm", "machine", "lib", "abi", "errors"),
)
"""The order that the design gives the layers, from the top; each stands for its siblings too."""

OF_ONE_MACHINE = re.compile(r"(?<![\w.])/(work|root|home/[a-z]+)(/|\b)")
REGISTRY_HOSTS = re.compile(r"pypi[.]org|pythonhosted[.]org|deb[.]debian[.]org|snapshot[.]debian|npmjs[.]|ghcr[.]io")


def contract(root: Path) -> dict[str, object]:
    """The layers contract of import-linter."""
    linter = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    found: dict[str, object] = linter["contracts"][0]
    return found


def layers(root: Path) -> list[set[str]]:
    """The names in each layer, from the top."""
    listed = contract(root)["layers"]
    assert isinstance(listed, list)
    return [set(re.findall(r"\w+", line)) for line in listed]


def test_every_package_has_a_place_in_the_layers(root: Path) -> None:
    package = root / "src" / "kmem"
    there = {p.parent.name for p in package.glob("*/__init__.py")} | {p.stem for p in package.glob("*.py")}
    placed = set().union(*layers(root))
    assert there - {"__init__", "__main__"} <= placed
    assert contract(root)["type"] == "layers"
    assert contract(root)["exhaustive"] is True


def test_the_layers_are_in_the_order_of_the_design(root: Path) -> None:
    place = {name: number for number, names in enumerate(layers(root)) for name in names}
    assert [place[name] for name in ORDER] == sorted(place[name] for name in ORDER)
    assert len({place[name] for name in ORDER}) == len(ORDER)


def text_files(root: Path) -> dict[str, str]:
    """The repository's own files that are text."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git repository: there is no list of its files")
    files = {}
    for name in listed.stdout.decode().split("\0"):
        path = root / name
        if path.is_file():
            data = path.read_bytes()
            if b"\0" not in data:
                files[name] = data.decode(errors="replace")
    return files


@pytest.mark.parametrize("pattern", [OF_ONE_MACHINE, REGISTRY_HOSTS], ids=["paths", "hosts"])
def test_no_file_speaks_of_one_machine(root: Path, pattern: re.Pattern[str]) -> None:
    found = [
        f"{name}:{number}: {line.strip()[:100]}"
        for name, text in text_files(root).items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_the_patterns_find_what_they_are_for() -> None:
    for path in ("/".join(["", "work", "main"]), "/".join(["", "root"]), "/".join(["", "home", "me", "x"])):
        assert OF_ONE_MACHINE.search(f"see {path}.")
    assert not OF_ONE_MACHINE.search("net/work/x and a/root")
    assert REGISTRY_HOSTS.search(".".join(["https://pypi", "org/simple"]))
