"""Prototypes become kinds."""

from __future__ import annotations

import pytest

from kmem.kapi.bind import bind_export
from kmem.kapi.cproto import Param, PrototypeError, parse_prototype
from kmem.kapi.export import exports


def kinds(text: str) -> list[str]:
    """The kind of the result and of each parameter."""
    prototype = parse_prototype(text)
    return [prototype.result, *(param.kind for param in prototype.params)] + ["..."] * prototype.variadic


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("void kfree(const void *objp)", ["void", "ptr"]),
        ("void f(void)", ["void"]),
        ("void f()", ["void"]),
        ("int f(void);", ["s32"]),
        ("unsigned long long f(long long a, unsigned b, short int c, unsigned char d)", "u64 s64 u32 s16 u8".split()),
        ("long unsigned int f(char c, signed char d, long int e)", "u64 s8 s8 s64".split()),
        ("void *f(size_t size, gfp_t flags)", ["ptr", "u64", "u32"]),
        ("bool f(struct list_head *new, struct list_head *prev)", ["bool", "ptr", "ptr"]),
        ("int _printk(const char *fmt, ...)", ["s32", "ptr", "..."]),
        ("int vprintk(const char *fmt, va_list args)", ["s32", "ptr", "va_list"]),
        ("struct kmem_cache *f(const char *n, void (*ctor)(void *))", ["ptr", "ptr", "ptr"]),
        ("void f(int (*cmp)(const void *, const void *), int n)", ["void", "ptr", "s32"]),
        ("void f(void (*const *table[4])(int), u8 raw[16])", ["void", "ptr", "ptr"]),
        ("void (*signal(int sig, void (*func)(int)))(int)", ["ptr", "s32", "ptr"]),
        ("int f(const char * const *array, size_t n)", ["s32", "ptr", "u64"]),
        ("void __iomem *f(resource_size_t offset, unsigned long size)", ["ptr", "u64", "u64"]),
        ("__must_check int f(char __user *to, int (*fn)(void))", ["s32", "ptr", "ptr"]),
        ("__printf(2, 3) int f(struct device *dev, const char *fmt, ...)", ["s32", "ptr", "ptr", "..."]),
        ("void f(enum tk_offsets offs, const enum x y)", ["void", "u32", "u32"]),
        ("void f(union u *u, struct page **pages, pgprot_t prot)", ["void", "ptr", "ptr", "u64"]),
        ("static __always_inline void f(volatile void __iomem *a, int, size_t)", "void ptr s32 u64".split()),
        ("int f(wait_queue_entry_t *curr, unsigned mode)", ["s32", "ptr", "u32"]),
    ],
)
def test_a_prototype_has_these_kinds(text: str, expected: list[str]) -> None:
    assert kinds(text) == expected


def test_names_of_function_and_parameters_are_kept() -> None:
    prototype = parse_prototype("void *f(const char *restrict name, void (*ctor)(void *), int, u8 raw[8])")
    assert prototype.name == "f"
    assert prototype.params == (Param("name", "ptr"), Param("ctor", "ptr"), Param("", "s32"), Param("raw", "ptr"))


@pytest.mark.parametrize(
    "text",
    [
        "int f(struct timespec64 ts)",
        "unknown_t f(void)",
        "int x",
        "int f(int a",
        "int f(int a,)",
        "int f(void, int a)",
        "double f(void)",
        "int f(int a) garbage",
        "int f(int a) {",
        "f(void)",
        "",
    ],
)
def test_what_the_calling_convention_cannot_carry_is_refused(text: str) -> None:
    with pytest.raises(PrototypeError):
        parse_prototype(text)


def test_every_export_has_a_prototype_that_fits_its_handler() -> None:
    every = exports()
    assert len(every) > 450
    for entry in every.values():
        assert callable(bind_export(entry)), entry.name
