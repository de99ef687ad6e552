"""The buses that the kernel brings: declared here in a line each, registered when somebody first asks for them."""

from __future__ import annotations

from kmem.kapi.export import data, faithful
from kmem.kapi.host import Host

SIZE = 176
"""``struct bus_type`` up to and with ``p``."""

BUSES: list[str] = []
"""Symbols of the kernel's buses."""


def bus_data(
    symbol: str, name: bytes, match: str = "", probe: str = "", remove: str = "", *, private: bool = False
) -> None:
    """Declare the ``struct bus_type`` *symbol*; *match*, *probe* and *remove* name exports that serve it."""
    label = f"{symbol}.name"

    def init(k: Host) -> bytes:
        layout, raw = k.layout["bus_type"], bytearray(SIZE)
        members = (("name", label), ("match", match), ("probe", probe), ("remove", remove))
        for member, target in members:
            if target:
                at = layout.offset(member)
                raw[at : at + 8] = k.address_of(target).to_bytes(8, "little")
        return bytes(raw)

    data(label, len(name) + 1, name + b"\0", align=1, doc=f"The name of {symbol}. The model's own.", private=True)
    data(symbol, SIZE, init, doc=f"The bus called {name.decode()}.", fidelity=faithful, private=private)
    BUSES.append(symbol)


def is_kernels(k: Host, bus: int) -> bool:
    """Whether *bus* is one of the kernel's own."""
    return any(k.address_of(symbol) == bus for symbol in BUSES)
