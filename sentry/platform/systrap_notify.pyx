"""Host calls of guest processes that the filter reports: granted once, to the thread that was asked, as asked for."""

import os
from select import EPOLLIN

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from sentry.platform.systrap_host cimport (
    CLONING, EPOLL_CTL_ADD, PARKED, ST_CLONE_FORK, ST_CLONE_THREAD, ST_FD_CTX, ST_FD_KEPT, ST_FD_SLOT, ST_NR_HELLO, ST_STACK,
    ST_TURN_SENTRY, sh_child, sh_ctx, sh_epoll_ctl, sh_notif, sh_notif_addfd, sh_notif_answer, sh_notif_continue, sh_notif_hand_fd,
    sh_notif_recv, sh_notif_valid, sh_now, sh_pidfd_kill, sh_pidfd_open, sh_tgkill, sh_tsc, sh_write32, sh_yield,
)
from sentry.platform.systrap_memory cimport HostFd
from sentry.platform.systrap_thread cimport AddressSpace, Clone, Registry, Shelf, Thread

import errno
from _operator import attrgetter

from sentry.core import log

cdef int64_t BIRTH = 20000000  # ns in which a new process surely gets its own context
SINCE = attrgetter("since")


cdef int notified(Registry host) except -1:
    cdef sh_notif n
    cdef Thread thread
    memset(&n, 0, sizeof(n))
    if sh_notif_recv(host.listener, &n) < 0:
        return 0  # the caller was killed meanwhile
    if n.nr == ST_NR_HELLO:
        return newborn(host, &n)
    thread = host.by_tid.get(n.pid)
    if thread is None or thread.aspace.dead:
        return stranger(host, &n)
    return grant(host, thread, &n)


cdef int end_doomed(Registry host) except -1:
    """Send the signals that AddressSpace.kill left out: all threads there are parked."""
    cdef AddressSpace space
    for space in host.doomed:
        if space.pidfd >= 0:
            sh_pidfd_kill(space.pidfd)
    host.doomed = []
    return 0


cdef int grant(Registry host, Thread thread, sh_notif *n) except -1:
    """A notified call of a known thread: allowed only if it is exactly what was asked for."""
    cdef Clone clone = thread.clone
    cdef bint fits
    cdef int error
    if n.nr == 56 and clone is not None:
        if clone.process:
            fits = n.args[0] == ST_CLONE_FORK and n.args[1] == 0
        else:
            fits = n.args[0] == ST_CLONE_THREAD and (n.args[1] - ST_STACK) >> 16 == <uint64_t>clone.slot
        if fits:
            if clone.granted:
                # Delivered again: the host restarts the call, or the guest makes it twice. Never grant two.
                sh_notif_answer(host.listener, n.id, 0, errno.EINTR)
            else:
                clone.granted = True
                if thread.nursery is not None:
                    hand_out_kept(host, thread.aspace, n)
                sh_notif_continue(host.listener, n.id)
                # The host's fork takes a while, which this can be done in: also where it wants this CPU, as the child will get another.
                if clone.process:
                    sh_yield()
                if host.doomed:
                    end_doomed(host)
                if clone.meanwhile is not None:
                    meanwhile, clone.meanwhile = clone.meanwhile, None
                    meanwhile()
            return 0
    elif n.nr == 60 and thread.exiting:
        sh_notif_continue(host.listener, n.id)
        thread.aspace.slots[thread.slot] = None
        thread.aspace.threads.remove(thread)
        if thread.tid == thread.aspace.pid:
            thread.aspace.leader_gone = True
        host._forget(thread)
        return 0
    elif n.nr == 9 or n.nr == 25:
        args = tuple([n.args[i] for i in range(6 if n.nr == 9 else 5)])
        # The next one of the batch, or the same once more (delivery is not exactly once).
        for at in (thread.grant_at, thread.grant_at - 1):
            if 0 <= at < <int>len(thread.grants):
                nr, wanted, fd = thread.grants[at]
                if nr == n.nr and wanted == args:
                    error = 0
                    # Neighbouring mappings of a batch are mostly of one file: then the slot has it already.
                    if type(fd) is int:
                        error = -<int>fd
                    elif fd is not None and (at == 0 or fd is not thread.grants[at - 1][2]):
                        error = sh_notif_addfd(host.listener, n.id, (<HostFd?>fd).fd, ST_FD_SLOT)
                    if error < 0:  # EBADF: the kernel's own mistake; ENOENT: the caller died
                        sh_notif_answer(host.listener, n.id, 0, -error)
                        return 0
                    thread.grant_at = at + 1
                    host.cloning = sh_tsc()
                    sh_notif_continue(host.listener, n.id)
                    return 0
    thread.aspace._violation(f"host call {n.nr}")
    sh_notif_answer(host.listener, n.id, 0, errno.EPERM)
    return 0


cdef int hand_out_kept(Registry host, AddressSpace seed, sh_notif *n) except -1:
    """A seed, which is about to be forked, gets the descriptors that it does not have yet. First it loses those that it has
    from the seed of another container."""
    cdef Shelf shelf = seed.shelf
    cdef int nothing
    if shelf.foreign:
        nothing = os.memfd_create("nothing", os.MFD_CLOEXEC)
        while shelf.foreign and sh_notif_addfd(host.listener, n.id, nothing, ST_FD_KEPT + shelf.foreign - 1) >= 0:
            shelf.foreign -= 1
        os.close(nothing)
    if shelf.changes == seed.kept:
        return 0
    for kept in sorted(shelf.kept, key=SINCE):
        if kept.since > seed.kept:
            if sh_notif_addfd(host.listener, n.id, kept, ST_FD_KEPT + <int>kept.place) < 0:
                break
            seed.kept = kept.since
    return 0


cdef int newborn(Registry host, sh_notif *n) except -1:
    """The first act of a new process or thread."""
    cdef bint process = n.args[1] != 0
    cdef Clone clone = host.clones.get(n.args[0])
    cdef int memfd = -1
    cdef Thread parent, child, old
    cdef AddressSpace space
    if clone is None or clone.process != process or not clone.granted:
        return stranger(host, n)
    old = host.by_tid.get(n.pid)
    if old is not None:
        if not old.aspace.dead and sh_tgkill(old.aspace.pid, n.pid, 0) == 0:
            return stranger(host, n)
        del host.by_tid[n.pid]
    parent = clone.parent
    if process:
        if n.pid in host.by_pid or sh_child(n.pid, 0) != 0:
            return stranger(host, n)
        try:
            space = host._new_space(n.pid, clone.base)
        except OSError as error:  # no descriptors left; without its memory the child ends itself, and _lost_clone tells the parent
            log.warning(f"host process {n.pid} given up: {error}")
            sh_notif_answer(host.listener, n.id, 0, errno.EPERM)
            return 0
        space.shelf, space.kept = parent.aspace.shelf, parent.aspace.kept
        memfd, clone.memfd = clone.memfd, -1
        sh_write32(&sh_ctx(clone.base, clone.slot).turn, ST_TURN_SENTRY)
    else:
        space = parent.aspace
        if sh_tgkill(space.pid, n.pid, 0) != 0:
            return stranger(host, n)
    child = host._new_thread(space, n.pid, clone.slot)
    child._inherit(parent)
    child.unborn = sh_now() + BIRTH if process else 0
    del host.clones[clone.nonce]
    parent.clone = None
    clone.parent = None
    if parent.state == CLONING:
        parent.state = PARKED
        host.running -= 1
    host.ran = True
    # First what follows, then the answer: so the child mostly finds its turn, and need not sleep.
    try:
        clone.done(child, 0)
    finally:
        if not process:
            sh_notif_answer(host.listener, n.id, 0, 0)
        else:
            if sh_notif_hand_fd(host.listener, n.id, memfd, ST_FD_CTX) < 0:  # it was killed meanwhile, or cannot live
                sh_notif_answer(host.listener, n.id, 0, errno.EPERM)
                sh_pidfd_kill(space.pidfd)
            os.close(memfd)
    return 0


cdef int stranger(Registry host, sh_notif *n) except -1:
    """A notified call that nothing accounts for: end whoever made it."""
    cdef AddressSpace space
    cdef int fd
    for space in host.spaces:
        if sh_tgkill(space.pid, n.pid, 0) == 0:
            space._violation(f"host call {n.nr} of thread {n.pid}")
            return 0
    fd = sh_pidfd_open(n.pid)
    if fd >= 0:
        if sh_notif_valid(host.listener, n.id):
            # Most likely the child of a process that died during its fork; else a forgery.
            log.info(f"unknown host process {n.pid} killed")
            sh_pidfd_kill(fd)
            host.watched[fd] = n.pid
            sh_epoll_ctl(host.epoll, EPOLL_CTL_ADD, fd, EPOLLIN)
        else:
            os.close(fd)
    sh_notif_answer(host.listener, n.id, 0, errno.EPERM)
    return 0
