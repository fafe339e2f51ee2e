"""Registration of system calls: one decorated function is the whole entry.

    @syscall("pwrite64", 18, (Fd, InBuf(2), Size, Off), blocks=True)
    def sys_pwrite64(t, fd, buf, count, pos): ...

The handler gets the task and the decoded arguments and returns a value, -errno, BLOCKED or NO_RETURN.
Decoding fixes width and sign only; pointers stay numbers, to be read with `t.read` / `t.write` /
`t.read_cstr`. What the row says about pointers (InBuf, Str, …) lets the stub carry that memory along with
the call; it changes cost, never meaning. Number, strace format and support table derive from the row.
"""

FULL, PARTIAL, UNSUPPORTED = "full", "partial", "unsupported"


WIDTHS = {"u64": b"U", "i64": b"I", "u32": b"u", "i32": b"i"}


class Arg:
    """Kind of an argument; `width` (i32, u32, i64, u64) is how the register is read."""

    __slots__ = ("name", "width", "kind", "length", "size", "vector")

    def __init__(self, name, width, kind=None, length=None, size=None, vector=None):
        self.name = name
        self.width = width
        self.kind = kind  # None, "in", "out", "inout", "str"
        self.length = length  # index of the argument that holds the length, or None
        self.size = size  # fixed size in bytes, or None
        self.vector = vector  # an iovec array or a msghdr with one: "gather" (its data is input), "scatter", or None


Fd = Arg("fd", "i32")
Int = Arg("int", "i32")
U32 = Arg("u32", "u32")
Mode = Arg("mode", "u32")
Flags = Arg("flags", "i32")
Long = Arg("long", "i64")
ULong = Arg("ulong", "u64")
Size = Arg("size", "u64")
Off = Arg("off", "i64")
Ptr = Arg("ptr", "u64")  # memory that the stub does not carry
InVector = Arg("ptr", "u64", vector="gather")  # of an iovec array; the next argument counts
OutVector = Arg("ptr", "u64", vector="scatter")
InMsg = Arg("struct", "u64", "in", size=56, vector="gather")  # of a msghdr
OutMsg = Arg("struct", "u64", "inout", size=56, vector="scatter")
Str = Arg("str", "u64", "str")  # path or other NUL-terminated string


def InBuf(length):
    """Input buffer whose length is argument number `length`."""
    return Arg("inbuf", "u64", "in", length=length)


def OutBuf(length):
    """Output buffer whose size is argument number `length`."""
    return Arg("outbuf", "u64", "out", length=length)


def InStruct(size):
    """Input of `size` bytes; a null pointer is allowed."""
    return Arg("struct", "u64", "in", size=size)


def OutStruct(size):
    """Output of `size` bytes; a null pointer is allowed."""
    return Arg("struct", "u64", "out", size=size)


def InOutStruct(size):
    """As InStruct and OutStruct at once."""
    return Arg("struct", "u64", "inout", size=size)


class Row:
    """One system call: name, x86-64 number, argument kinds, handler, support level and note."""

    __slots__ = ("name", "nr", "args", "fn", "level", "note", "blocks", "lasting", "convert", "count", "widths")

    def __init__(self, name, nr, args, fn, level, note, blocks, lasting):
        self.name = name
        self.nr = nr
        self.args = args
        self.fn = fn
        self.level = level
        self.note = note
        self.blocks = blocks
        self.lasting = lasting
        self.count = len(args)
        self.widths = b"".join([WIDTHS[a.width] for a in args])
        self.convert = tuple((i, a.width) for i, a in enumerate(args) if a.width != "u64")

    def call(self, t, raw):
        """Run the handler with `raw`, six unsigned 64-bit ints."""
        args = list(raw[: self.count])
        for i, width in self.convert:
            v = args[i]
            if width == "i32":
                v &= 0xFFFFFFFF
                args[i] = v - 0x100000000 if v & 0x80000000 else v
            elif width == "u32":
                args[i] = v & 0xFFFFFFFF
            elif v & 0x8000000000000000:
                args[i] = v - 0x10000000000000000
        return self.fn(t, *args)


NR_MAX = 512
TABLE: "list[Row | None]" = [None] * NR_MAX
BY_NAME: "dict[str, Row]" = {}


def syscall(name, nr, args=(), *, level=FULL, note="", blocks=False, lasting=False):
    """Register a handler (module docstring). lasting: the result holds for the thread until `forget_answers` is called."""

    def register(fn):
        if TABLE[nr] is not None or name in BY_NAME:
            raise ValueError(f"system call {name} ({nr}) is registered twice")
        row = Row(name, nr, args, fn, level, note, blocks, lasting)
        TABLE[nr] = row
        BY_NAME[name] = row
        return fn

    return register
