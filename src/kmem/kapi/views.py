"""What a kernel shows of itself: tables, its name at a prompt, a page in a notebook. What makes them is imported when
it is first asked for (`kmem.kapi.view_tables`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmem.kapi.view_tables import AreaRow, LiveRow, ModuleRow, SlabRow, ZoneRow
    from kmem.lib.columns import Fact, Table


class Views:
    """The tables of a `Kernel`, and how it shows itself at a prompt and in a notebook."""

    @property
    def slabs(self: Any) -> Table[SlabRow]:
        """Every slab cache, as /proc/slabinfo has them."""
        from kmem.kapi.view_tables import slabs

        return slabs(self)

    @property
    def free_blocks(self: Any) -> Table[ZoneRow]:
        """Free blocks by zone and order, as /proc/buddyinfo has them."""
        from kmem.kapi.view_tables import free_blocks

        return free_blocks(self)

    @property
    def areas(self: Any) -> Table[AreaRow]:
        """The areas of vmalloc space, as /proc/vmallocinfo has them."""
        from kmem.kapi.view_tables import areas

        return areas(self)

    @property
    def live(self: Any) -> Table[LiveRow]:
        """What was allocated and lives: all of it if the machine keeps a history, else what modules allocated."""
        from kmem.kapi.view_tables import live

        return live(self)

    @property
    def module_list(self: Any) -> Table[ModuleRow]:
        """The modules that are loaded."""
        from kmem.kapi.view_tables import module_list

        return module_list(self)

    def facts(self: Any) -> Table[Fact]:
        """What machine it is, and how it is."""
        from kmem.kapi.view_tables import facts

        return facts(self)

    def __dir__(self) -> list[str]:
        from kmem.kapi.view_tables import names

        return sorted({*super().__dir__(), *names(self)})

    def __repr__(self: Any) -> str:
        c = self.boot_config
        return f"<Kernel {c.release} ({c.config}), {c.ram >> 20} MiB, {c.cpus} CPUs, seed {c.seed}>"

    def _repr_html_(self: Any) -> str:
        from kmem.kapi.view_tables import html

        return html(self)
