"""C prototypes: enough of a parser for the declarations of exported kernel functions.

A prototype is reduced to what the x86-64 calling convention needs: for the result and for each parameter a *kind*:

    void bool s8 u8 s16 u16 s32 u32 s64 u64 ptr va_list

Every pointer, array and function parameter is ``ptr``; ``va_list`` is a pointer to a guest ``va_list`` structure.
Structs by value are not supported, except the kernel's one-member wrappers that travel as their member (``pgprot_t``,
``kuid_t``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kmem.errors import InternalError


class PrototypeError(InternalError):
    """A handler's prototype cannot be understood."""

    slug = "prototype"


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter; *name* is empty when the prototype gives none."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Prototype:
    """A parsed prototype."""

    name: str
    result: str
    params: tuple[Param, ...]
    variadic: bool


_TOKEN = re.compile(r"\s*(\.\.\.|\w+|[*(),\[\]])")
_QUALIFIERS = frozenset(
    """const volatile restrict __restrict extern static inline __inline __always_inline noinline asmlinkage register
    __user __kernel __iomem __percpu __rcu __force __must_check __maybe_unused __visible __cold __sched __malloc notrace
    __deprecated __weak __init __exit __bitwise""".split()
)
_ATTRIBUTES = frozenset(
    "__printf __scanf __alloc_size __attribute__ __section __nonstring __counted_by __aligned".split()
)
_WORDS = frozenset("signed unsigned short long int char _Bool bool void double float".split())
_TAGS = {"struct": "", "union": "", "enum": "u32"}

_NAMES_OF = {
    "u8": "u8 __u8 uint8_t u_int8_t unchar",
    "u16": "u16 __u16 uint16_t __le16 __be16 ushort umode_t",
    "u32": """u32 __u32 uint32_t __le32 __be32 uint gfp_t slab_flags_t fmode_t mode_t dev_t uid_t gid_t kuid_t kgid_t
        irqreturn_t vm_fault_t xa_mark_t __poll_t""",
    "u64": """u64 __u64 uint64_t __le64 __be64 ulong uintptr_t size_t pgprot_t sector_t dma_addr_t phys_addr_t
        resource_size_t pgoff_t""",
    "s8": "s8 __s8 int8_t",
    "s16": "s16 __s16 int16_t",
    "s32": "s32 __s32 int32_t pid_t clockid_t",
    "s64": "s64 __s64 int64_t ptrdiff_t ssize_t loff_t off_t time64_t ktime_t",
    # typedefs of pointers and arrays, most to functions
    "ptr": """rcu_callback_t cmp_func_t cmp_r_func_t swap_func_t swap_r_func_t list_cmp_func_t wait_queue_func_t
        exitcall_t dr_release_t dr_match_t genpool_algo_t assert_format_t kunit_resource_init_t kunit_resource_free_t
        kunit_resource_match_t xa_update_node_t cpumask_var_t match_table_t smp_cond_func_t smp_call_func_t
        irq_handler_t""",
    "va_list": "va_list",
    "bool": "bool _Bool",
}
_TYPEDEFS = {name: kind for kind, names in _NAMES_OF.items() for name in names.split()}


def parse_prototype(text: str) -> Prototype:
    """Parses one function declaration, with or without a final semicolon. Raises PrototypeError."""
    return _Parser(text).function()


class _Parser:
    """Recursive descent over one declaration. A declarator is its name and the list of what is applied to it,
    outermost first."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = []
        position, body = 0, text.rstrip().rstrip(";").rstrip()
        while position < len(body):
            match = _TOKEN.match(body, position)
            if match is None:
                raise self.error(f"unexpected {body[position:].strip()[:1]!r}")
            self.tokens.append(match[1])
            position = match.end()
        self.at = 0

    def error(self, what: str) -> PrototypeError:
        return PrototypeError(
            f"cannot parse the C prototype {self.text!r}: {what}", remedy="correct the handler's docstring"
        )

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def expect(self, token: str) -> None:
        if self.take() != token:
            raise self.error(f"{token!r} expected")

    def skip_noise(self) -> None:
        """Skips qualifiers and attributes with their arguments."""
        while True:
            if self.peek() in _QUALIFIERS:
                self.at += 1
            elif self.peek() in _ATTRIBUTES:
                self.at += 1
                if self.peek() == "(":
                    self.skip_parentheses()
            else:
                return

    def skip_parentheses(self) -> None:
        depth = 0
        while True:
            token = self.take()
            depth += (token == "(") - (token == ")")
            if not token:
                raise self.error("unbalanced parentheses")
            if not depth:
                return

    def function(self) -> Prototype:
        base = self.base_type()
        name, applied = self.declarator()
        self.skip_noise()
        if self.peek():
            raise self.error(f"unexpected {self.peek()!r}")
        if not name or not applied or not isinstance(applied[0], tuple):
            raise self.error("not a function")
        params, variadic = applied[0]
        result = self.kind(base, applied[1:])
        return Prototype(name, result, params, variadic)

    def base_type(self) -> str:
        """The kind of the declaration specifiers; '' for a struct, which only a pointer may refer to."""
        words: list[str] = []
        while True:
            self.skip_noise()
            token = self.peek()
            if token in _TAGS and not words:
                self.at += 2
                self.skip_noise()
                return _TAGS[token]
            if token in _WORDS:
                words.append(self.take())
            elif not words and re.match(r"[A-Za-z_]\w*\Z", token):
                # A typedef that the table does not know stands for a struct: only a pointer may refer to it.
                return _TYPEDEFS.get(self.take(), "")
            else:
                return self.integer(words)

    def integer(self, words: list[str]) -> str:
        if words == ["void"]:
            return "void"
        if words in (["bool"], ["_Bool"]):
            return "bool"
        if not words or not set(words) <= {"signed", "unsigned", "short", "long", "int", "char"}:
            raise self.error(f"type {' '.join(words) or self.peek()!r} is not supported")
        width = 8 if "char" in words else 16 if "short" in words else 64 if "long" in words else 32
        return f"{'u' if 'unsigned' in words else 's'}{width}"

    def declarator(self) -> tuple[str, list[str | tuple[tuple[Param, ...], bool]]]:
        """Name ('' for an abstract declarator) and what it is: "pointer", "array" or (parameters, variadic)."""
        self.skip_noise()
        if self.peek() == "*":
            self.at += 1
            name, applied = self.declarator()
            return name, [*applied, "pointer"]
        name = ""
        inner: list[str | tuple[tuple[Param, ...], bool]] = []
        if self.peek() == "(" and self.tokens[self.at + 1] in {"*", "("} | _QUALIFIERS:
            self.at += 1
            name, inner = self.declarator()
            self.expect(")")
        elif re.match(r"[A-Za-z_]\w*\Z", self.peek()):
            name = self.take()
        suffix: list[str | tuple[tuple[Param, ...], bool]] = []
        while True:
            if self.peek() == "(":
                suffix.append(self.parameters())
            elif self.peek() == "[":
                while self.take() != "]":
                    if self.at >= len(self.tokens):
                        raise self.error("']' expected")
                suffix.append("array")
            else:
                return name, [*inner, *suffix]

    def parameters(self) -> tuple[tuple[Param, ...], bool]:
        self.expect("(")
        params: list[Param] = []
        if self.peek() == ")":
            self.at += 1
            return (), False
        while True:
            if self.peek() == "...":
                self.at += 1
                self.expect(")")
                return tuple(params), True
            base = self.base_type()
            name, applied = self.declarator()
            self.skip_noise()
            kind = self.kind(base, applied)
            if kind == "void" and not params and not name and self.peek() == ")":
                self.at += 1
                return (), False
            if kind == "void":
                raise self.error("a parameter of type void")
            params.append(Param(name, kind))
            if self.take() == ",":
                continue
            self.at -= 1
            self.expect(")")
            return tuple(params), False

    def kind(self, base: str, applied: list[str | tuple[tuple[Param, ...], bool]]) -> str:
        if applied:
            return "ptr"
        if not base:
            raise self.error("a struct by value or an unknown type")
        return base
