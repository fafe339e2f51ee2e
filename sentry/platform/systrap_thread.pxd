from libc.stdint cimport int64_t, uint32_t, uint64_t

from sentry.platform.systrap_carried cimport Carrier
from sentry.platform.systrap_reserve cimport Reserve
from sentry.platform.systrap_host cimport SH_HOT, sh_entry, st_ctx, st_shared


cdef class Regs:
    cdef public uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi
    cdef public uint64_t orig_rax, rip, rsp, eflags, fs_base, gs_base


cdef class Clone:
    cdef Thread parent
    cdef object done
    cdef object meanwhile  # what to call once the host is at work, or None
    cdef bint process
    cdef uint32_t nonce
    cdef bint granted  # the clone call may have been made
    cdef int tries
    cdef int64_t since
    cdef int slot  # of the new thread
    cdef int tid  # of the idle thread that becomes the new one, or 0
    cdef void *base  # of the new process's context memory
    cdef int memfd


cdef class Thread(Carrier):
    cdef readonly AddressSpace aspace
    cdef readonly int tid
    cdef readonly int ops_done
    cdef readonly int ops_errno
    cdef Regs _regs
    cdef bint have_regs  # _regs and snap are those of this event
    cdef Registry platform
    cdef st_ctx *ctx
    cdef int slot
    cdef int hot  # index in Registry.hot, or -1
    cdef int state
    cdef uint32_t expect  # bit n: event n may come
    cdef uint64_t quiet  # as in the context, where the guest can write it
    cdef uint64_t snap[21]  # registers as the stub has them
    cdef uint64_t faults[5]
    cdef bint exiting
    cdef bint lent  # what the stub has of registers and FP state is not ours yet (see _lend_fp)
    cdef bint saving  # the operations under way end with `lent`
    cdef object ret_after  # what to return when they are done, or None
    cdef bint interrupted
    # Until then (ns) a new process may be without its own context: its handler would look into its parent's. 0: it is not new.
    cdef int64_t unborn
    cdef int _signal(self) except -1
    cdef int64_t interrupt_cpu
    cdef Clone clone
    # memory operations under way
    cdef list ops
    cdef int ops_at, ops_sent, ops_base
    cdef object ops_value
    cdef list grants  # notified calls that the batch may make: (nr, args, host fd)
    cdef int grant_at
    cdef bint uses_slot
    cdef uint32_t ops_seq
    cdef object nursery  # of which it is the seed, or None

    cdef int _event(self) except -1
    cdef int _give(self, uint32_t cmd, uint32_t expect) except -1
    cdef int _put_regs(self) except -1
    cdef int _get_regs(self) except -1
    cdef int _send_ops(self) except -1
    cdef int _parked(self) except -1
    cdef int _lend_fp(self, Clone clone) except -1
    cdef int _lent_fp(self, int error) except -1
    cdef int _inherit(self, Thread parent) except -1
    cdef uint32_t _lent_flag(self) noexcept


cdef class Shelf:
    cdef list kept  # base.Kept, by place
    cdef long long changes
    cdef int hand  # the place to be looked at next for one that is not used any more
    cdef int foreign  # so many places still have what another seed left there


cdef class AddressSpace:
    cdef readonly int pid
    cdef readonly list threads
    cdef Registry platform
    cdef int pidfd
    cdef void *base
    cdef list slots  # Thread, Clone, IDLE or None
    cdef list idle  # (host thread id, slot)
    cdef int position  # in Platform.entries, or -1
    cdef bint dead
    cdef bint killed
    cdef bint leader_gone
    cdef Shelf shelf  # of the seed that it descends from
    cdef long long kept  # the last change there that it has inherited
    cdef Thread slot_owner  # has a notified mmap of the descriptor slot under way
    cdef list slot_queue

    cdef int _detach(self) except -1
    cdef int _reach(self) except -1
    cdef bint _reuse(self, Clone clone) except -1


cdef class Registry:
    cdef st_shared *shared
    cdef readonly int fp_size
    cdef readonly bytes vdso_image
    cdef bint frames  # stubs can make signal frames on their own
    cdef st_ctx *hot_ctx[SH_HOT]  # contexts whose turn is looked at; NULL while the thread is parked
    cdef list hot  # their threads, or None
    cdef int next_hot
    cdef sh_entry *entries
    cdef int nentries, entries_room
    cdef list spaces  # AddressSpace, parallel to entries
    cdef int epoll, listener
    cdef dict watched  # host fd -> callback, AddressSpace, or the process id of a stranger
    cdef dict by_tid
    cdef dict by_pid
    cdef dict clones  # nonce -> Clone
    cdef list ready  # threads to hand out
    cdef list later  # (callback, arguments) to run from wait
    cdef list interrupting, slot_waits
    cdef list doomed  # AddressSpaces that are to be killed
    cdef list ended  # those whose host process is to be reaped
    cdef uint64_t doomed_since  # TSC of the first
    cdef list spare  # (base, fd) of fresh context memory
    cdef list unused  # addresses of context memory that is to be unmapped
    cdef bytes nonces
    cdef uint64_t woke  # TSC when a stub that slept was woken last
    cdef uint64_t cloning  # TSC at the start of the last clone
    cdef Thread granting  # a thread that has notified mappings before it, or None
    cdef bint ran  # a callback has been called
    cdef int running  # threads that the guest or the stub has
    cdef int64_t next_check
    cdef double gap  # average TSC ticks that the dispatcher waits for an event
    cdef double missed  # share of the events that came later than a busy wait would have lasted
    cdef int woken  # CPU of a stub that slept when it got its answer, or -1
    cdef Reserve reserve
    cdef uint64_t moved_much  # TSC at the last call whose data filled more than what a stub makes sure of a place for
    cdef int caller_cpu, same_cpu  # CPU of the last event, and how many before it came from there

    cdef int _unmap_unused(self) except -1
    cdef int _add_space(self, AddressSpace space) except -1
    cdef int _remove_space(self, AddressSpace space) except -1
    cdef int _heat(self, Thread thread) except -1
    cdef int _cool(self, Thread thread) except -1
    cdef void _called_from(self, int cpu) noexcept
    cdef AddressSpace _new_space(self, int pid, void *where)
    cdef Thread _new_thread(self, AddressSpace space, int tid, int slot)
