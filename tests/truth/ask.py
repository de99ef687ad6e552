"""Asks kmem what the real kernels were asked: loads the modules with ``kmem run`` and reads its log."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

from tests.truth import slabs
from tests.truth.convert import READERS
from tests.truth.facts import Collector, Fact, FactsError, Golden
from tests.truth.log import Step, lines_of_dmesg, parameters
from tests.truth.modules import built, loads

Kmem = Callable[..., "subprocess.CompletedProcess[str]"]
"""Calls the kmem command with words."""
LAST_LINES = 20


def facts_of_kmem(kmem: Kmem, golden: Golden) -> list[Fact]:
    """Load the module on kmem as often as the golden facts ask for, and read its log."""
    if golden.module in ("sysfs", "slabinfo"):
        return slabs.ask(golden)
    out = Collector(golden.config, golden.module)
    for words in loads(golden):
        step = load(kmem, golden.config, golden.module, words)
        READERS[golden.module](out, step)
    return out.facts


def load(kmem: Kmem, config: str, module: str, words: str) -> Step:
    """Load a module once on kmem; FactsError with what kmem said when there is no log or the module was stopped."""
    done = kmem("run", built(module), *words.split(), "--config", config, "--json")
    try:
        run = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise FactsError(f"kmem run ended with status {done.returncode} and no JSON: {done.stderr[-2000:]}") from None
    lines = lines_of_dmesg(run["dmesg"])
    if run["verdict"] in ("error", "unsupported"):
        said = {name: run.get(name) for name in ("verdict", "error", "unsupported")}
        raise FactsError("\n".join([f"kmem run {module} {words}: {json.dumps(said)}", *lines[-LAST_LINES:]]))
    return Step(module, parameters(words), lines)
