"""Builds stockade's extensions in place: `python setup.py build_ext --inplace`.

One extension per .pyx file below sentry/, gofer/ and sandbox/, and one per module listed in COMPILED (plain
Python that runs uncompiled as well). STOCKADE_DEV=1 builds without optimisation, for short
turn-around; otherwise -O2, stripped. Everything is incremental; a change of mode rebuilds all. The extensions
of sentry/ are also linked into one library, which a start loads in a third of the time (sandbox/bundle.py).
"""

import glob
import os
import re
import sys

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# Pure-Python modules that are compiled too, by path. Measured hot ones only.
COMPILED = [
    "sentry/core/creds.py",
    "sentry/core/syscall.py",
    "sentry/core/timers.py",
    "sentry/core/waitq.py",
    "sentry/fs/anon.py",
    "sentry/fs/epoll.py",
    "sentry/fs/eventfd.py",
    "sentry/fs/gofer.py",
    "sentry/fs/overlay.py",
    "sentry/fs/pipe.py",
    "sentry/fs/tmpfs.py",
    "sentry/kernel/clone.py",
    "sentry/kernel/cputime.py",
    "sentry/kernel/exec.py",
    "sentry/kernel/exit.py",
    "sentry/kernel/futex.py",
    "sentry/kernel/kernel.py",
    "sentry/kernel/memstat.py",
    "sentry/kernel/session.py",
    "sentry/kernel/signals.py",
    "sentry/kernel/signals_frame.py",
    "sentry/kernel/task.py",
    "sentry/kernel/wait.py",
    "sentry/mm/elf.py",
    "sentry/mm/functions.py",
    "sentry/mm/images.py",
    "sentry/mm/loader.py",
    "sentry/mm/manager.py",
    "sentry/mm/patches.py",
    "sentry/mm/vma.py",
    "sentry/net/hostinet.py",
    "sentry/net/inet.py",
    "sentry/net/socket.py",
    "sentry/net/tcp.py",
    "sentry/net/unix.py",
    "sentry/syscalls/fileio.py",
    "sentry/syscalls/sockmsg.py",
    "sentry/syscalls/sys_epoll.py",
    "sentry/syscalls/sys_poll.py",
    "sentry/syscalls/sys_process.py",
    "sentry/syscalls/sys_signal.py",
    "sentry/syscalls/sys_socket.py",
    "sentry/syscalls/sys_wait.py",
    "sentry/vfs/context.py",
    "sentry/vfs/dentry.py",
    "sentry/vfs/file.py",
    "sentry/vfs/inode.py",
    "sentry/vfs/mount.py",
    "sentry/vfs/ops.py",
    "sentry/vfs/perm.py",
    "sentry/vfs/regular.py",
    "sentry/vfs/walk.py",
]

PACKAGES = ("sentry", "gofer", "sandbox")
DEV = os.environ.get("STOCKADE_DEV") == "1"
JOBS = len(os.sched_getaffinity(0))

DIRECTIVES = {
    "language_level": 3,
    # Cython is not memory-safe by habit: these checks stay on (they cost 2 ns a call of 161).
    "boundscheck": True,
    "nonecheck": True,
    "initializedcheck": True,
    # Generated pickling fails on pointers, recurses, and loading it runs code.
    "auto_pickle": False,
    # What a finalizer raises is reported once, as Python does it.
    "unraisable_tracebacks": False,
    # Annotations document; they are not C types unless a .pxd says so.
    "annotation_typing": False,
}

# Chains of objects (a directory and its parent, ...) are freed without recursion, however long. cythonize() takes
# this directive on single classes only, and a .pxd cannot give it.
Options.get_directive_defaults()["trashcan"] = True

if DEV:
    COMPILE = ["-O0", "-g0", "-Wall", "-Wno-unused-function", "-Wno-unused-variable"]
    LINK = []
else:
    COMPILE = ["-O2", "-g0", "-Wall", "-Wno-unused-function", "-Wno-unused-variable", "-fno-plt"]
    LINK = ["-s", "-Wl,-z,relro,-z,now"]

JOINT = "build/sentry.so"
JOINT_LINK = ["-Wl,-Bsymbolic,-z,pack-relative-relocs"]

# Uses of native/: an own declaration, or those of a *_host.pxd.
C_HEADER = re.compile(r'^\s*(cdef extern from "|from \S+_host cimport\b)', re.MULTILINE)

# Shared libraries that an extension needs beside libc.
LIBRARIES = {"sentry/mm/decode.pyx": ["Zydis"]}
# Archives of native/ that go into an extension.
ARCHIVES = {"sentry/net/lwip.pyx": ["build/native/liblwip.a"]}


def sources():
    """The files to compile, sorted: every .pyx whose archives are there and every module of COMPILED (list[str])."""
    found = [path for top in PACKAGES for path in glob.glob(f"{top}/**/*.pyx", recursive=True)]
    return sorted(path for path in found + COMPILED if all(map(os.path.exists, ARCHIVES.get(path, ()))))


def extension(path):
    """The Extension of one source file (str, relative to the project)."""
    with open(path, encoding="utf-8") as file:
        includes_c = C_HEADER.search(file.read())
    return Extension(
        os.path.splitext(path)[0].replace("/", "."),
        [path],
        include_dirs=["native", "native/lwip", "build/native"],
        extra_compile_args=COMPILE,
        extra_link_args=LINK,
        define_macros=[("_GNU_SOURCE", None)],
        libraries=LIBRARIES.get(path, []),
        extra_objects=ARCHIVES.get(path, []),
        # The structs shared with the stub are C headers: a changed header rebuilds their users.
        depends=sorted(glob.glob("native/*.h") + glob.glob("build/native/*.h") + ARCHIVES.get(path, [])) if includes_c else [],
    )


def mode_changed():
    """Whether the last build was in another mode (flags or Python); remembers this one."""
    stamp, mode = "build/mode", repr((COMPILE, LINK, Options.get_directive_defaults(), DIRECTIVES, sys.version))
    os.makedirs("build", exist_ok=True)
    try:
        with open(stamp, encoding="utf-8") as file:
            old = file.read()
    except FileNotFoundError:
        old = None
    with open(stamp, "w", encoding="utf-8") as file:
        file.write(mode)
    return old is not None and old != mode


def drop_stale():
    """Removes built extensions whose source is gone: they would shadow a new plain module."""
    wanted = {os.path.splitext(path)[0] for path in sources()}
    for top in PACKAGES:
        for built in glob.glob(f"{top}/**/*.so", recursive=True):
            if built.split(".", 1)[0] not in wanted:
                print(f"removing stale {built}")
                os.unlink(built)


class Build(build_ext):
    """Extensions as ever, then the library of those of the Sentry."""

    def run(self):
        super().run()
        parts = [part for part in self.extensions if part.name.startswith("sentry.")]
        if DEV:
            if os.path.exists(JOINT):
                os.unlink(JOINT)
            return
        objects = self.compiler.object_filenames([source for part in parts for source in part.sources], output_dir=self.build_temp)
        archives = [archive for part in parts for archive in part.extra_objects]
        built = os.stat(JOINT).st_mtime if os.path.exists(JOINT) else 0
        if any(os.stat(path).st_mtime > built for path in [*objects, *archives, "setup.py"]):
            libraries = sorted({library for part in parts for library in part.libraries})
            self.compiler.link_shared_object(objects + archives, JOINT + ".new", libraries=libraries, extra_postargs=LINK + JOINT_LINK)
            os.rename(JOINT + ".new", JOINT)


os.chdir(os.path.dirname(os.path.abspath(__file__)))
drop_stale()
FORCE = mode_changed()
extensions = [extension(path) for path in sources()]
if extensions:
    extensions = cythonize(
        extensions,
        build_dir="build/cython",
        compiler_directives=DIRECTIVES,
        nthreads=JOBS if len(extensions) > 1 else 0,
        force=FORCE,
    )

setup(
    name="stockade",
    version="0.1.0",
    packages=[],
    ext_modules=extensions,
    cmdclass={"build_ext": Build},
    options={"build_ext": {"inplace": True, "parallel": JOBS, "force": FORCE}},
    script_args=sys.argv[1:] or ["build_ext"],
)
