"""NUMA policies (mm/mempolicy.c) on a machine with one node: checked and recorded, without effect."""

from struct import pack, unpack

from sentry.abi.errno import EFAULT, EINVAL, ENODEV, EPERM, ESRCH
from sentry.core.creds import CAP_SYS_NICE
from sentry.core.syscall import PARTIAL, Int, Ptr, ULong, syscall
from sentry.kernel.access import may_access
from sentry.kernel.clone import INHERITED_DATA
from sentry.platform.base import PAGE

NOTE = "one node; recorded without effect"
DEFAULT, PREFERRED, BIND, INTERLEAVE, LOCAL, PREFERRED_MANY, WEIGHTED_INTERLEAVE = range(7)
STATIC_NODES, RELATIVE_NODES, NUMA_BALANCING = 1 << 15, 1 << 14, 1 << 13
MODE_FLAGS = STATIC_NODES | RELATIVE_NODES | NUMA_BALANCING
F_NODE, F_ADDR, F_MEMS_ALLOWED = 1, 2, 4
MF_STRICT, MF_MOVE, MF_MOVE_ALL = 1, 2, 4
ONLINE = 1  # mask of nodes
MAX_NODES = 1024

INHERITED_DATA.append("mempolicy")


def read_nodes(t, addr, maxnode) -> int:
    """The node mask, or -EINVAL (get_nodes)."""
    maxnode -= 1
    if maxnode <= 0 or not addr:
        return 0
    if maxnode > PAGE * 8:
        return -EINVAL
    words = (maxnode + 63) // 64
    mask = int.from_bytes(t.read(addr, 8 * words), "little") & ((1 << maxnode) - 1)
    return -EINVAL if mask >> MAX_NODES else mask


def check_policy(mode, nodes) -> int:
    """0, or -EINVAL (sanitize_mpol_flags, mpol_new, mpol_set_nodemask)."""
    flags, mode = mode & MODE_FLAGS, mode & ~MODE_FLAGS
    if not 0 <= mode <= WEIGHTED_INTERLEAVE or (flags & STATIC_NODES and flags & RELATIVE_NODES):
        return -EINVAL
    if flags & NUMA_BALANCING and mode not in (BIND, PREFERRED_MANY):
        return -EINVAL
    if mode in (DEFAULT, LOCAL):
        return -EINVAL if nodes or flags else 0
    if not nodes:
        return 0 if mode == PREFERRED and not flags else -EINVAL
    return 0 if nodes & ONLINE else -EINVAL


@syscall("set_mempolicy", 238, (Int, Ptr, ULong), level=PARTIAL, note=NOTE)
def sys_set_mempolicy(t, mode, nmask, maxnode):
    nodes = read_nodes(t, nmask, maxnode)
    if nodes < 0:
        return nodes
    error = check_policy(mode, nodes)
    if not error:
        t.data["mempolicy"] = (mode, nodes & ONLINE)
    return error


@syscall("get_mempolicy", 239, (Ptr, Ptr, ULong, Ptr, ULong), level=PARTIAL, note=NOTE)
def sys_get_mempolicy(t, policy, nmask, maxnode, addr, flags):
    if nmask and maxnode < 1:
        return -EINVAL
    if flags & ~(F_NODE | F_ADDR | F_MEMS_ALLOWED):
        return -EINVAL
    mode, nodes = t.data.get("mempolicy", (DEFAULT, 0))
    if flags & F_MEMS_ALLOWED:
        if flags & (F_NODE | F_ADDR):
            return -EINVAL
        mode, nodes = 0, ONLINE
    elif flags & F_ADDR:
        if t.mm.find(addr) is None:
            return -EFAULT
        mode, nodes = (0, ONLINE) if flags & F_NODE else (DEFAULT, 0)
    elif addr:
        return -EINVAL
    elif flags & F_NODE:
        if mode not in (INTERLEAVE, WEIGHTED_INTERLEAVE):
            return -EINVAL
        mode = 0
    if policy:
        t.write(policy, pack("<i", mode))
    if nmask:
        size = ((maxnode - 1 + 63) // 64) * 8
        t.write(nmask, nodes.to_bytes(8, "little").ljust(min(size, MAX_NODES // 8), b"\0")[:size])
    return 0


@syscall("mbind", 237, (ULong, ULong, ULong, Ptr, ULong, Int), level=PARTIAL, note=NOTE)
def sys_mbind(t, start, length, mode, nmask, maxnode, flags):
    nodes = read_nodes(t, nmask, maxnode)
    if nodes < 0:
        return nodes
    if flags & ~(MF_STRICT | MF_MOVE | MF_MOVE_ALL):
        return -EINVAL
    if flags & MF_MOVE_ALL and not t.creds.capable(CAP_SYS_NICE):
        return -EPERM
    end = start + (length + PAGE - 1 & -PAGE)
    if start & (PAGE - 1) or end >= 1 << 64:
        return -EINVAL
    if end == start:
        return 0
    error = check_policy(mode & 0xFFFFFFFF, nodes)
    if error:
        return error
    return 0 if t.mm.vmas.covered(start, end) else -EFAULT


@syscall("set_mempolicy_home_node", 450, (ULong, ULong, ULong, ULong), level=PARTIAL, note=NOTE)
def sys_set_mempolicy_home_node(t, start, length, node, flags):
    return -EINVAL if start & (PAGE - 1) or flags or node else 0


def target_task(t, pid):
    """The task, or -ESRCH, -EPERM."""
    task = t if pid == 0 else t.tg.pids.tasks.get(pid)
    if task is None:
        return -ESRCH
    return task if may_access(t, task, True) else -EPERM


@syscall("migrate_pages", 256, (Int, ULong, Ptr, Ptr), level=PARTIAL, note=NOTE)
def sys_migrate_pages(t, pid, maxnode, old, new):
    for addr in (old, new):
        nodes = read_nodes(t, addr, maxnode)
        if nodes < 0:
            return nodes
    task = target_task(t, pid)
    return task if type(task) is int else 0


@syscall("move_pages", 279, (Int, ULong, Ptr, Ptr, Ptr, Int), level=PARTIAL, note=NOTE)
def sys_move_pages(t, pid, count, pages, nodes, status, flags):
    if flags & ~(MF_MOVE | MF_MOVE_ALL):
        return -EINVAL
    if flags & MF_MOVE_ALL and not t.creds.capable(CAP_SYS_NICE):
        return -EPERM
    task = target_task(t, pid)
    if type(task) is int:
        return task
    if count > 1 << 16:
        return -EINVAL
    addresses = unpack(f"<{count}Q", t.read(pages, 8 * count))
    wanted = unpack(f"<{count}i", t.read(nodes, 4 * count)) if nodes else (0,) * count
    if any(node != 0 for node in wanted):
        return -ENODEV
    found = [0 if task.mm is not None and task.mm.find(addr) is not None else -EFAULT for addr in addresses]
    t.write(status, pack(f"<{count}i", *found))
    return 0
