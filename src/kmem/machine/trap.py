"""Calls of exported kernel functions: from guest code to Python and back.

`Traps` serves the guest code of `kmem.machine.trapcode`. A handler is called with the mailbox, a sequence of
unsigned 64-bit numbers: 0 to 5 are rdi, rsi, rdx, rcx, r8, r9, 6 is rsp as the function would find it (pointing at
the return address), 7 the return address. It is one of

- a plain function, whose result (an int, or None for 0) goes into rax: 0.45 us for the round trip;
- a generator function, which may run guest code (``ret = yield Call(fn, args)``) and switch to another task's stack
  (``yield Switch(next_rsp, save_at)``); its return value goes into rax. It nests nothing on the host's stack, so
  depth is bounded by the guest's stack alone. The mailbox always shows the handler its own arguments, also after a
  yield.

What a handler raises ends the run and comes out of `Cpu.run`; `AccessFault` becomes `Faulted` at the function's
stub with the registers that the caller passed; `EndRun` becomes its outcome.

A generator whose task never runs again would wait forever: `Traps.unwind` closes those of a stack that is given up.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from kmem.errors import InternalError
from kmem.machine import trapcode, uc
from kmem.machine.fault import GP, PF, PF_INSTR, PF_PROT, PF_WRITE, AccessFault, Fault, Regs
from kmem.machine.operand import canonical
from kmem.machine.outcome import EndRun, Faulted, Stopped
from kmem.machine.regs import EFLAGS_RF
from kmem.machine.trapcode import ACTION, CALL, FN, RESULT, RSP, SWITCH, TOKEN

if TYPE_CHECKING:
    from kmem.machine.cpu import Cpu

MASK = 0xFFFF_FFFF_FFFF_FFFF
_SAVED = 8 * (trapcode.CALLER + 1)

Mailbox = memoryview
"""64-bit words; see the top of this file."""


@dataclass(frozen=True, slots=True)
class Call:
    """Yielded by a handler: run the guest function at *fn*; rax comes back, unsigned.

    Any object with these two attributes will do.
    """

    fn: int
    args: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Switch:
    """Yielded by a handler: go on with the stack at *next_rsp*; None comes back when somebody switches to this one.

    *save_at* is where in guest memory the stack pointer to return by is stored; 0 for a task that will never run
    again. A *next_rsp* of 0 means that there is no task to run: the run ends as ``Stopped("idle")``, and `Traps.go`
    takes it up again.
    """

    next_rsp: int
    save_at: int = 0


Handler = Callable[[Mailbox], "int | Generator[Any, Any, int | None] | None"]


@dataclass(slots=True)
class _Frame:
    """A generator that waits: for function *index*, called with *saved*, the first eight words of its mailbox."""

    generator: Generator[Any, Any, int | None] | None
    index: int
    saved: bytes
    token: int = 0
    switched: bool = False

    @property
    def rsp(self) -> int:
        """Where on its stack it waits."""
        return int.from_bytes(self.saved[8 * RSP : 8 * RSP + 8], "little")


class Traps:
    """The exported functions of one machine. Make it before the first run.

    *common_addr* is where the caller puts `code`, executable; *mailbox_gs_offset* where the mailbox lies in the
    per-cpu area, and *mailbox_phys* the physical address of the running CPU's.
    """

    def __init__(self, cpu: Cpu, *, common_addr: int, mailbox_gs_offset: int, mailbox_phys: int) -> None:
        self._cpu = cpu
        self.common_addr = common_addr
        self.code = trapcode.build(common_addr, mailbox_gs_offset)
        self.finish = cpu.return_to = common_addr + trapcode.label("finish")
        self._table: list[Handler] = [self._resume, self._thread_returned]
        self._stubs = [common_addr + trapcode.label("trap"), common_addr + trapcode.label("thread")]
        self._exact: set[int] = set()
        self._frames: dict[int, _Frame] = {}
        self._tokens = 0
        self._index = 0
        self.resuming: Callable[[bool], None] = lambda on: None
        self.repeatable: set[int] = set()
        """Stubs of functions that may be called anew when the guest code has returned that they called."""
        self._mailboxes: dict[int, tuple[Mailbox, Mailbox, Mailbox]] = {}
        self.use_mailbox(mailbox_phys)
        cpu.suspend = self._suspend
        cpu.meter.uninterruptible(common_addr, len(self.code))
        cpu.engine.hook(uc.HOOK_INSN, uc.OUT_HOOK(self._out), insn=uc.INS_OUT)

    # Setting up

    def use_mailbox(self, phys: int) -> None:
        """Serve the CPU whose mailbox is at physical *phys*."""
        found = self._mailboxes.get(phys)
        if found is None:
            words = (ctypes.c_uint64 * trapcode.MAILBOX_WORDS).from_address(self._cpu.ram.base + phys)
            raw = memoryview(words).cast("B")
            found = self._mailboxes[phys] = raw, raw[:_SAVED], raw.cast("Q")
        self._bytes, self._head, self.words = found

    def add(self, handler: Handler, stub_addr: int, *, exact: bool = False) -> bytes:
        """Let *handler* serve calls of the function at *stub_addr*; returns the 16 bytes to put there.

        *exact*: the function is not called by the C convention. Then the handler is a plain function; it may change
        words 0 to 5, which are loaded back into their registers, and sees rax, r10 and r11 in words `trapcode.RAX`,
        R10 and R11.
        """
        index = len(self._table)
        self._table.append(handler)
        self._stubs.append(stub_addr)
        if exact:
            self._exact.add(index)
        return trapcode.code_for_stub(index, stub_addr, self.common_addr, exact=exact)

    def mark(self) -> int:
        """How many functions there are, for :meth:`rewind`."""
        return len(self._table)

    def rewind(self, mark: int) -> None:
        """Forget the functions that were added since *mark*; nobody can call them any more."""
        del self._table[mark:], self._stubs[mark:]
        self._exact = {index for index in self._exact if index < mark}

    def unsaveable(self) -> list[tuple[int, str]]:
        """Stack pointer and stub of the generators that wait for guest code: `mark_frames` cannot keep those."""
        waiting = [f for f in self._frames.values() if not f.switched and self._stubs[f.index] not in self.repeatable]
        return [(f.rsp, f"{self._stubs[f.index]:#x}") for f in waiting]

    def mark_frames(self) -> tuple[int, tuple[tuple[int, int, bytes, bool], ...]]:
        """The generators whose tasks wait to be switched to, for `rewind_frames`."""
        return self._tokens, tuple((f.token, f.index, f.saved, f.switched) for f in self._frames.values())

    def rewind_frames(self, mark: tuple[int, tuple[tuple[int, int, bytes, bool], ...]]) -> None:
        """Let exactly the generators of *mark* wait again. Each is called anew, with the same arguments, when its task
        runs; `resuming` is told before and after that, so that its first sleep can be made to end at once.
        """
        for frame in self._frames.values():
            if frame.generator is not None:
                frame.generator.close()
        self._tokens, frames = mark if mark else (self._tokens, ())
        self._frames = {token: _Frame(None, index, saved, token, how) for token, index, saved, how in frames}

    def on_thread_return(self, handler: Handler) -> None:
        """Let *handler* serve the return of a thread's function. It finds the value in word `trapcode.RESULT`, and must
        switch away.
        """
        self._table[trapcode.EXIT] = handler

    def thread_stack(self, fn: int, arg: int) -> bytes:
        """What to put at the stack pointer of a new thread that calls fn(arg). It must end at a multiple of 16."""
        return trapcode.thread_stack(self.common_addr, fn, arg)

    def go(self, rsp: int) -> Regs:
        """Registers for `Cpu.resume` that go on with the task whose stack pointer was saved as *rsp*."""
        return Regs(rip=self.common_addr + trapcode.label("go"), rsp=rsp)

    def _thread_returned(self, _words: Mailbox) -> int:
        raise EndRun(Stopped("thread returned", self.registers()))

    # Serving

    def _out(self, _engine: int, port: int, size: int, value: int) -> None:
        if port != trapcode.TRAP_PORT:
            self._cpu.guard(lambda: self._cpu.bus.port_out(port, size, value), None)
            return
        try:
            self._index = value
            words = self.words
            result = self._table[value](words)
            if result.__class__ is int:
                words[RESULT] = result & MASK
            elif result is None:
                words[RESULT] = 0
            else:
                words[RESULT] = self._start(value, result)
        except BaseException as error:
            self._fail(error)

    def _start(self, index: int, result: Any) -> int:
        """Run a generator up to its first yield; or take the result of a function that is no plain int."""
        if result.__class__ is not GeneratorType:
            return int(result) & MASK
        if index in self._exact:
            result.close()
            raise InternalError("a function with registers of its own is served by a generator", remedy="make it plain")
        return self._advance(_Frame(result, index, bytes(self._head)), None)

    def _resume(self, words: Mailbox) -> int:
        """Guest code that a generator waited for has returned, or its task runs again."""
        frame = self._frames.get(words[TOKEN])
        if frame is None:
            raise _forged(self._cpu)
        if frame.generator is None:
            return self._again(frame)
        value = None if frame.switched else words[RESULT]
        self._head[:] = frame.saved
        self._index = frame.index
        return self._advance(frame, value)

    def _again(self, frame: _Frame) -> int:
        """Call a function anew in which a task slept when the machine was saved."""
        self._head[:] = frame.saved
        self._index = frame.index
        if frame.switched:
            self.resuming(True)
        try:
            result: Any = self._table[frame.index](self.words)
            if result.__class__ is not GeneratorType:
                del self._frames[frame.token]
                return int(result or 0) & MASK
            frame.generator = result
            return self._advance(frame, None)
        finally:
            self.resuming(False)

    def _advance(self, frame: _Frame, value: int | None) -> int:
        """Run a generator up to its next yield and do what it asks for; its value when it is done."""
        assert frame.generator is not None
        try:
            request = frame.generator.send(value)
        except BaseException as end:
            self._frames.pop(frame.token, None)
            if not isinstance(end, StopIteration):
                raise
            return (end.value or 0) & MASK
        if not frame.token:
            self._tokens = frame.token = self._tokens + 1
            self._frames[frame.token] = frame
        words = self.words
        words[TOKEN] = frame.token
        frame.switched = isinstance(request, Switch)
        if frame.switched:
            self._switch(frame, request)
        else:
            words[FN] = request.fn & MASK
            for word, argument in enumerate(request.args, trapcode.CALL_ARG0):
                words[word] = argument & MASK
            words[ACTION] = CALL
        return 0

    def _switch(self, frame: _Frame, request: Switch) -> None:
        words = self.words
        words[trapcode.NEXT_RSP], words[trapcode.SAVE_AT] = request.next_rsp, request.save_at
        words[ACTION] = SWITCH
        if not request.next_rsp:
            self._cpu.pend(Stopped("idle", self.registers()))
        if not request.save_at:
            del self._frames[frame.token]
            if frame.generator is not None:
                frame.generator.close()

    def _fail(self, error: BaseException) -> None:
        """End the run: what a handler raised must not be lost in the emulator."""
        if isinstance(error, AccessFault):
            error = EndRun(Faulted(self._fault(error)))
        elif isinstance(error, IndexError) and self._index >= len(self._table):
            error = _forged(self._cpu)
        self._cpu.pend(error)
        self._cpu.engine.stop()

    def _fault(self, error: AccessFault) -> Fault:
        """The exception that the access would have raised in the function's own code."""
        regs = self.registers()
        regs.eflags |= EFLAGS_RF
        if not canonical(error.address):
            return Fault(GP, 0, error.address, regs)
        code = {"write": PF_WRITE, "exec": PF_INSTR}.get(error.access, 0) | (PF_PROT if error.present else 0)
        return Fault(PF, code, error.address, regs)

    # Looking at what is being served

    @property
    def stub(self) -> int:
        """Address of the stub of the function that is being served."""
        return self._stubs[self._index]

    def registers(self) -> Regs:
        """The registers as the function that is being served found them. (r11 was overwritten by its stub.)"""
        words = self.words
        regs = self._cpu.registers()
        regs.rdi, regs.rsi, regs.rdx, regs.rcx, regs.r8, regs.r9, regs.rsp = words[: RSP + 1]
        regs.rax = words[trapcode.RAX]
        regs.rip = self.stub
        return regs

    def unwind(self, low: int, high: int) -> int:
        """Close the generators that wait on the stack from *low* to *high*, whose task is gone, the latest one first.

        Returns how many there were.
        """
        waiting = [frame for frame in self._frames.values() if low <= frame.rsp < high]
        for frame in reversed(waiting):
            del self._frames[frame.token]
            if frame.generator is not None:
                frame.generator.close()
        return len(waiting)

    def _suspend(self) -> Callable[[], None]:
        """Keep the mailbox while a handler runs the CPU."""
        index, saved = self._index, bytes(self._bytes)

        def restore() -> None:
            self._index = index
            self._bytes[:] = saved

        return restore


def _forged(cpu: Cpu) -> EndRun:
    return EndRun(Stopped("the code wrote to the port of kmem's own traps", cpu.registers()))
