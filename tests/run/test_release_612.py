"""The examples, built against the headers of 6.12, on a 6.12 machine: every configuration, no finding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kmem.lib.build import build as build_core
from kmem.modules.headers import find
from tests.conftest import Kmem

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(find("6.12") is None, reason="no headers of 6.12: kmem headers 6.12")


@pytest.fixture(scope="module", autouse=True)
def core() -> None:
    """Compiling takes longer than a run may."""
    build_core("6.12")


@pytest.mark.parametrize("config", ["plain", "debian", "debug"])
@pytest.mark.parametrize("example", ["kmalloc_driver", "vmalloc_driver", "cache_list_driver"])
def test_an_example_runs_clean(kmem: Kmem, example: str, config: str) -> None:
    done = kmem("run", str(ROOT / "examples" / example), "--release", "6.12", "--config", config, "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["verdict"], answer["findings"]) == (0, "clean", [])
    assert answer["release"] == "6.12"
    assert answer["allocations"]["live"] == 0


@pytest.mark.parametrize(
    ("config", "kind"),
    [("plain", "freelist-corruption"), ("debian", "freelist-corruption"), ("debug", "use-after-free")],
)
def test_a_free_list_that_is_written_over_is_found(kmem: Kmem, config: str, kind: str) -> None:
    done = kmem("run", str(ROOT / "examples/freelist_corruption"), "--release", "6.12", "--config", config, "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    assert kind in {finding["kind"] for finding in answer["findings"]}, answer["findings"]


def test_a_module_of_the_other_release_is_refused(kmem: Kmem, tmp_path: Path) -> None:
    from kmem.modules.kbuild import build

    (module,) = build(ROOT / "examples" / "kmalloc_driver", release="6.12").modules
    done = kmem("run", str(module), "--release", "6.1")
    assert done.returncode == 2
    assert "6.12.117+deb12-amd64" in done.stdout + done.stderr
