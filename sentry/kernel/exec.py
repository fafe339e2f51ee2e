"""execve(2): from a path to a running image (fs/exec.c).

Until the new address space is ready nothing of the old program is touched, so every error found so far returns
to the caller. After that the group is committed: a failure ends it with SIGKILL, as on Linux.
"""

from stat import S_ISGID, S_ISUID, S_IXGRP

from sentry.abi.fs import MS_NOSUID
from sentry.abi.errno import E2BIG, EAGAIN, ELIBBAD, ELOOP, ENOEXEC
from sentry.core import creds as caps
from sentry.core import log
from sentry.core.result import NO_RETURN
from sentry.kernel import exit, hooks, ptrace, signals
from sentry.mm import elf, loader
from sentry.platform.base import EV_DEAD
from sentry.vfs import ops

AT_FDCWD = -100
SIGKILL = 9
MAX_SCRIPTS = 5
MAX_ARG_STRLEN = 131072
ARG_LIMIT = 6 << 20  # three quarters of the default stack (fs/exec.c:bprm_stack_limits)
SECBIT_NOROOT, SECBIT_KEEP_CAPS = 1, 16


class Program:
    """What a path turned out to be: program file and interpreter with their images, final argv."""

    __slots__ = ("file", "image", "interp_file", "interp", "argv", "path")

    def __init__(self):
        self.file = self.image = self.interp_file = self.interp = None

    def close(self):
        for file in (self.file, self.interp_file):
            if file is not None:
                file.decref()


def load(t, dirfd, path, argv, at_flags) -> "Program | int":
    """Find the image to run, through `#!` lines."""
    program = Program()
    depth = 0
    name = path
    while True:
        file = ops.open_exec(t, dirfd, name, at_flags)
        if isinstance(file, int):
            return file
        program.file = file
        constant = file.inode.constant()
        if constant is not None and constant.image is not None:
            program.image = constant.image
            error = load_interpreter(t, program, program.image.interp) if program.image.interp is not None else 0
            if error:
                program.close()
                return error
            program.argv = argv
            program.path = path
            return program
        header = elf.read_at(t, file, 0, 256)
        error = header if isinstance(header, int) else elf.check_executable(file)
        if not error and header[:2] == b"#!":
            line = elf.parse_script(header)
            if isinstance(line, int):
                error = line
            elif depth == MAX_SCRIPTS:
                error = -ELOOP
            else:
                depth += 1
                script = path if dirfd == AT_FDCWD or path[:1] == b"/" else b"/dev/fd/%d" % dirfd + (b"/" + path if path else b"")
                argv = [line[0]] + ([line[1]] if line[1] is not None else []) + [script if depth == 1 else name] + argv[1:]
                dirfd, name, at_flags = AT_FDCWD, line[0], 0
                program.file = None
                file.decref()
                continue
        if not error:
            image = elf.Image.parse(t, file, header)
            if isinstance(image, int):
                error = image
            else:
                program.image = image
                if constant is not None:
                    constant.image = image
                if image.interp is not None:
                    error = load_interpreter(t, program, image.interp)
        if error:
            program.close()
            return error
        program.argv = argv
        program.path = path
        return program


def load_interpreter(t, program, name) -> int:
    file = ops.open_exec(t, AT_FDCWD, name, 0)
    if isinstance(file, int):
        return file
    program.interp_file = file
    constant = file.inode.constant()
    if constant is not None and constant.image is not None:
        program.interp = constant.image
        return 0
    header = elf.read_at(t, file, 0, 256)
    if isinstance(header, int):
        return header
    image = elf.Image.parse(t, file, header)
    if isinstance(image, int):
        return -ELIBBAD if image == -ENOEXEC else image
    program.interp = image
    if constant is not None:
        constant.image = image
    return 0


def new_creds(t, file):
    """Credentials after exec (capabilities(7), "Transformation of capabilities during execve()").
    Returns (creds, secure)."""
    old = t.creds
    new = old.copy()
    mode = file.inode.mode
    watched = t.ptrace is not None and not t.ptrace.tracer.creds.capable(caps.CAP_SYS_PTRACE) and not old.capable(caps.CAP_SETUID)
    suid_ok = not t.no_new_privs and not watched and file.path is not None and not file.path.mount.flags & MS_NOSUID
    if suid_ok and mode & S_ISUID:
        new.euid = file.inode.uid
    if suid_ok and mode & S_ISGID and mode & S_IXGRP:
        new.egid = file.inode.gid
    changed = new.euid != old.euid or new.egid != old.egid
    new.suid = new.fsuid = new.euid
    new.sgid = new.fsgid = new.egid
    permitted = effective = 0
    if not new.securebits & SECBIT_NOROOT and (new.euid == 0 or new.uid == 0):
        permitted = new.inheritable | new.bounding
        effective = permitted if new.euid == 0 else 0
    if changed:
        new.ambient = 0
    permitted |= new.ambient
    if effective == 0:
        effective = new.ambient
    if t.no_new_privs and permitted & ~old.permitted and new.uid != 0:
        permitted &= old.permitted
        effective &= permitted
    new.permitted, new.effective = permitted, effective
    new.securebits &= ~SECBIT_KEEP_CAPS
    secure = changed or (new.uid != 0 and effective != 0 and permitted != new.ambient)
    return new, secure


def check_size(t, argv, envp) -> int:
    limit = min(max(t.rlimit(3) // 4, MAX_ARG_STRLEN), ARG_LIMIT)
    total = 8 * (len(argv) + len(envp))
    for text in argv + envp:
        if len(text) >= MAX_ARG_STRLEN:
            return -E2BIG
        total += len(text) + 1
    return -E2BIG if total > limit else 0


class Exec:
    """One exec on its way: the steps that follow each other through callbacks."""

    def __init__(self, task, program, layout, creds):
        self.task = task
        self.program = program
        self.layout = layout
        self.creds = creds
        self.thread = None
        self.old_tid = task.tid

    def start(self):
        """The other threads go first, then a fresh address space is asked for."""
        exit.kill_other_threads(self.task, self.alone)

    def alone(self, errno):
        task = self.task
        if errno:  # the process is ending, or another thread's exec came first
            self.layout.abandon()
            self.program.close()
            task.kernel.back_to_guest(task, errno)
            return
        container = task.tg.container
        task.kernel.platform.new_aspace(self.got_aspace, container.nursery if container is not None else None)

    def got_aspace(self, thread, errno):
        task = self.task
        if task.dead or task.dying:
            if thread is not None:
                thread.aspace.kill()
            self.layout.abandon()
            self.program.close()
            if not task.dead:
                exit.exit_task(task)
            return
        if thread is not None and thread.event == EV_DEAD:  # killed from outside before we had it: nobody else will be told
            thread, errno = None, EAGAIN
        if thread is None:
            log.error(f"exec of {self.program.path!r}: no address space: errno {errno}")
            self.fail()
            return
        self.commit(thread)

    def commit(self, thread):
        """Leave the old program and become the new one."""
        task, layout = self.task, self.layout
        mm = layout.mm
        mm.aspace = thread.aspace
        mm.lay_out(task, thread, layout.ops, self.mapped)  # carried out while we leave the old program
        exit.leave_memory(task)
        task.give_thread(thread)
        task.mm = mm
        mm.exe = self.program.file.path.incref()
        if task.files.users > 1:
            task.files.users -= 1
            task.files = task.files.copy()
        task.files.close_on_exec(task)
        signals.on_exec(task)
        for hook in hooks.EXEC:
            hook(task)
        if self.creds.euid != task.creds.euid or self.creds.egid != task.creds.egid:
            task.pdeath_signal = 0
            task.dumpable = 0
        else:
            task.dumpable = 1
        task.creds = self.creds
        task.comm = self.program.path.rsplit(b"/", 1)[-1][:15]
        task.restart = None
        task.tg.did_exec = True

    def mapped(self, errno):
        task, thread, layout = self.task, self.task.thread, self.layout
        self.program.close()
        if errno:
            log.warning(f"exec of {self.program.path!r}: memory could not be set up: errno {errno}")
            exit.group_exit(task.tg, SIGKILL)
        regs = thread.regs
        regs.rip, regs.rsp, regs.eflags = layout.entry, layout.sp, 0x202
        if task.ptrace is not None and not task.dying:
            ptrace.exec_done(task, self.old_tid)
        elif task.work:
            signals.user_return(task, None)
        else:
            thread.resume(fp_reset=True)

    def fail(self):
        self.layout.abandon()
        self.program.close()
        exit.group_exit(self.task.tg, SIGKILL)
        signals.user_return(self.task, None)


def do_execve(t, dirfd, path, argv, envp, at_flags) -> int:
    """Returns -errno, or NO_RETURN when the exec is on its way."""
    if not argv:
        argv = [b""]  # since Linux 5.18
    error = check_size(t, argv, envp)
    if error:
        return error
    program = load(t, dirfd, path, argv, at_flags)
    if isinstance(program, int):
        return program
    creds, secure = new_creds(t, program.file)
    layout = loader.build(t, program.file, program.image, program.interp_file, program.interp, program.argv, envp,
                          path, creds, secure, t.kernel.host)  # fmt: skip
    if isinstance(layout, int):
        program.close()
        return layout
    Exec(t, program, layout, creds).start()
    return NO_RETURN
