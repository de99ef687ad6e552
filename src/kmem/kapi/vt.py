"""The console (drivers/tty/vt/vt.c, keyboard.c), 6.1: one terminal of 80 columns and 25 lines, as a screen without
anything on it has.
"""

from __future__ import annotations

from kmem.abi.gfp import __GFP_ZERO, GFP_KERNEL
from kmem.kapi.export import data, export, simplified
from kmem.kapi.fields import put
from kmem.kapi.host import Host
from kmem.kapi.registry import accepts, answers

MAX_NR_CONSOLES, VC_SIZE = 63, 40
COLUMNS, ROWS, BLANK = 80, 25, 0x0720
"""A blank in light grey on black."""


def _consoles(k: Host) -> bytes:
    """``vc_cons``: the first console is there, as boot makes it."""
    owner = k.address_of("vc_cons")  # boot's: no module has to free it
    vc = k.mm.kmalloc(k.layout["vc_data"].size, GFP_KERNEL | __GFP_ZERO, -1, owner)
    screen = k.mm.kmalloc(COLUMNS * ROWS * 2, GFP_KERNEL, -1, owner)
    if not vc or not screen:
        raise MemoryError("no memory for the console")
    k.mem.write(screen, BLANK.to_bytes(2, "little") * (COLUMNS * ROWS))
    for member, value in (
        ("vc_cols", COLUMNS),
        ("vc_rows", ROWS),
        ("vc_size_row", COLUMNS * 2),
        ("vc_screenbuf_size", COLUMNS * ROWS * 2),
        ("vc_video_erase_char", BLANK),
        ("vc_bottom", ROWS),
        ("vc_screenbuf", screen),
        ("vc_origin", screen),
        ("vc_visible_origin", screen),
        ("vc_pos", screen),
        ("vc_scr_end", screen + COLUMNS * ROWS * 2),
    ):
        put(k, "vc_data", vc, member, value)
    return vc.to_bytes(8, "little")


data("vc_cons", MAX_NR_CONSOLES * VC_SIZE, _consoles, doc="The consoles, drivers/tty/vt/vt.c. There is one.")
data("fg_console", 4, doc="Number of the console in the foreground, drivers/tty/vt/vt.c.")
data("console_blanked", 4, doc="Whether the screen is dark, drivers/tty/vt/vt.c.")

answers(
    0,
    "drivers/tty/vt/keyboard.c",
    "int vt_get_leds(unsigned int console, int flag)",
    how="no light is on",
)
accepts(
    "drivers/tty/vt/keyboard.c",
    "void kd_mksound(unsigned int hz, unsigned int ticks)",
    how="there is no loudspeaker",
)
accepts(
    "drivers/tty/vt/vt.c",
    "void redraw_screen(struct vc_data *vc, int is_switch)",
    "void do_blank_screen(int entering_gfx)",
    "void do_unblank_screen(int leaving_gfx)",
    "void clear_selection(void)",
    "void console_lock(void)",
    "void console_unlock(void)",
    how="nobody sees the screen",
)


@export(simplified("there is one console, and it stays"))
def screen_glyph(k: Host, vc: int, offset: int) -> int:
    """``u16 screen_glyph(const struct vc_data *vc, int offset)``

    drivers/tty/vt/vt.c, 6.1. The character at *offset* bytes of the visible screen.
    """
    return k.mem.u16(k.mem.u64(vc + k.layout["vc_data"].offset("vc_visible_origin")) + offset) & 0xFF


@export(simplified("there is one console, and it stays"))
def screen_pos(k: Host, vc: int, w_offset: int, viewed: bool) -> int:
    """``unsigned short *screen_pos(const struct vc_data *vc, int w_offset, bool viewed)``

    drivers/tty/vt/vt.c, 6.1. Where a character of the screen lies.
    """
    member = "vc_visible_origin" if viewed else "vc_origin"
    return k.mem.u64(vc + k.layout["vc_data"].offset(member)) + 2 * w_offset
