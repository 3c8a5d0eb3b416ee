"""Records the state of a process for the replay corpus; runs within gdb.

    gdb -batch -nx -ex "python program='P'; folder='F'; steps=0" -x capture.py P

At each breakpoint instruction that the program runs into (and, with steps, at
the start of `imported@plt` and after each of so many instructions), it writes
one snapshot: registers, executable mappings, the stack, and the frames as gdb
and the program's own symbols tell them.
"""

import gdb

REGISTERS = "rax rdx rcx rbx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip"
# Bytes of a frame that are kept at most: a signal's has some 1,000.
FRAME = 1536


def value(name):
    return int(gdb.parse_and_eval(f"(unsigned long)${name}"))


def frames():
    frame = gdb.newest_frame()
    while frame is not None:
        sp = int(frame.read_register("rsp"))
        yield frame.pc(), sp, frame.name() or "?"
        frame = frame.older()


def executable_mappings():
    for line in open(f"/proc/{gdb.selected_inferior().pid}/maps"):
        fields = line.split()
        if "x" in fields[1]:
            start, end = fields[0].split("-")
            path = fields[5] if len(fields) > 5 else "-"
            yield start, end, fields[2], path.split("/")[-1]


def snapshot(number):
    walk = list(frames())
    lines = []
    for name in REGISTERS.split():
        lines.append(f"register {name} {value(name):x}")
    for mapping in executable_mappings():
        lines.append("mapping " + " ".join(mapping))
    stack = {}
    inferior = gdb.selected_inferior()
    for index, (_, sp, _) in enumerate(walk):
        above = walk[index + 1][1] if index + 1 < len(walk) else sp + 8
        size = above - sp if 0 < above - sp < FRAME else FRAME
        for at in range(sp & ~7, sp + size, 8):
            try:
                stack[at] = inferior.read_memory(at, 8).tobytes()
            except gdb.MemoryError:
                break
    start = None
    for at in sorted(stack):
        if at - 8 not in stack:
            lines.append(f"memory {at:x} ")
        lines[-1] += stack[at].hex()
    for pc, _, name in walk:
        lines.append(f"frame {pc:x} {name}")
    with open(f"{folder}/{program}-{number}.snapshot", "w") as out:
        out.write("\n".join(lines) + "\n")


def run():
    gdb.execute("set pagination off")
    gdb.execute("set backtrace past-main on")
    gdb.execute("set disable-randomization on")
    gdb.execute("set environment LD_LIBRARY_PATH .")
    for signal in ("SIGILL", "SIGUSR1"):
        gdb.execute(f"handle {signal} nostop noprint pass")
    number = 0
    if steps:
        gdb.execute("set breakpoint pending on")
        gdb.execute("tbreak *'imported@plt'")
    gdb.execute("run")
    while gdb.selected_inferior().pid:
        snapshot(number)
        number += 1
        if steps and number > steps:
            gdb.execute("kill")
        else:
            gdb.execute("stepi" if steps else "continue")


run()
