"""/proc/sys: kernel parameters (sysctl(8), Documentation/admin-guide/sysctl). Most are constants that programs like to
read; the few that can be changed hold for the sandbox."""

import os

from sentry.abi.errno import EACCES, EINVAL
from sentry.core.creds import ALL_CAPS, CAP_LAST_CAP, CAP_NET_ADMIN, CAP_SYS_ADMIN
from sentry.fs.procfs_system import uuid
from sentry.fs.pseudo import TextFile, TextInode, fixed
from sentry.kernel.pidns import PID_MAX
from sentry.kernel.uts import RELEASE, SYSNAME, VERSION
from sentry.mm.manager import MAX_MAP_COUNT, MMAP_MIN_ADDR
from sentry.vfs.file import O_ACCMODE, O_RDONLY

assert ALL_CAPS >> CAP_LAST_CAP == 1

# path -> value; a value in a tuple may be changed (an integer between two limits)
CONSTANTS = {
    "abi/vsyscall32": 1,
    "debug/exception-trace": 1,
    "dev/tty/ldisc_autoload": 1,
    "fs/aio-max-nr": 65536,
    "fs/aio-nr": 0,
    "fs/epoll/max_user_watches": 3550000,
    "fs/file-max": 9223372036854775807,
    "fs/file-nr": "0\t0\t9223372036854775807",
    "fs/inode-nr": "0\t0",
    "fs/inotify/max_queued_events": 16384,
    "fs/inotify/max_user_instances": 128,
    "fs/inotify/max_user_watches": 65536,
    "fs/lease-break-time": 45,
    "fs/leases-enable": 1,
    "fs/mount-max": 100000,
    "fs/mqueue/msg_default": 10,
    "fs/mqueue/msg_max": 10,
    "fs/mqueue/msgsize_default": 8192,
    "fs/mqueue/msgsize_max": 8192,
    "fs/mqueue/queues_max": 256,
    "fs/nr_open": 1048576,
    "fs/overflowgid": 65534,
    "fs/overflowuid": 65534,
    "fs/pipe-max-size": 1048576,
    "fs/pipe-user-pages-hard": 0,
    "fs/pipe-user-pages-soft": 16384,
    "fs/protected_fifos": 0,
    "fs/protected_hardlinks": 1,
    "fs/protected_regular": 0,
    "fs/protected_symlinks": 1,
    "fs/suid_dumpable": 0,
    "kernel/arch": "x86_64",
    "kernel/cap_last_cap": CAP_LAST_CAP,
    "kernel/core_pattern": "core",
    "kernel/core_pipe_limit": 0,
    "kernel/core_uses_pid": 0,
    "kernel/ctrl-alt-del": 0,
    "kernel/dmesg_restrict": 1,
    "kernel/io_uring_disabled": 2,
    "kernel/keys/maxbytes": 20000,
    "kernel/keys/maxkeys": 200,
    "kernel/keys/root_maxbytes": 25000000,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/kptr_restrict": 1,
    "kernel/msgmax": (8192, 0, 0x7FFFFFFF),
    "kernel/msgmnb": (16384, 0, 0x7FFFFFFF),
    "kernel/msgmni": (32000, 0, 0x8000),
    "kernel/ngroups_max": 65536,
    "kernel/numa_balancing": 0,
    "kernel/osrelease": RELEASE.decode(),
    "kernel/ostype": SYSNAME.decode(),
    "kernel/overflowgid": 65534,
    "kernel/overflowuid": 65534,
    "kernel/panic": 0,
    "kernel/panic_on_oops": 0,
    "kernel/perf_event_max_sample_rate": 100000,
    "kernel/perf_event_mlock_kb": 516,
    "kernel/perf_event_paranoid": 3,
    "kernel/pid_max": PID_MAX,
    "kernel/printk": "4\t4\t1\t7",
    "kernel/pty/max": 4096,
    "kernel/pty/reserve": 1024,
    "kernel/random/entropy_avail": 256,
    "kernel/random/poolsize": 256,
    "kernel/random/urandom_min_reseed_secs": 60,
    "kernel/random/write_wakeup_threshold": 256,
    "kernel/randomize_va_space": 2,
    "kernel/sched_autogroup_enabled": 0,
    "kernel/sched_child_runs_first": 0,
    "kernel/sched_rr_timeslice_ms": 100,
    "kernel/sched_rt_period_us": 1000000,
    "kernel/sched_rt_runtime_us": 950000,
    "kernel/seccomp/actions_avail": "kill_process kill_thread trap errno user_notif trace log allow",
    "kernel/seccomp/actions_logged": "kill_process kill_thread trap errno user_notif trace log",
    "kernel/sem": "32000\t1024000000\t500\t32000",
    "kernel/shm_rmid_forced": 0,
    "kernel/shmall": (18446744073692774399, 0, (1 << 64) - 1),
    "kernel/shmmax": (18446744073692774399, 0, (1 << 64) - 1),
    "kernel/shmmni": (4096, 0, 0x8000),
    "kernel/sysctl_writes_strict": 1,
    "kernel/tainted": 0,
    "kernel/threads-max": 192730,
    "kernel/unprivileged_bpf_disabled": 2,
    "kernel/version": VERSION.decode(),
    "kernel/yama/ptrace_scope": 0,
    "net/core/bpf_jit_enable": 1,
    "net/core/default_qdisc": "pfifo_fast",
    "net/core/netdev_max_backlog": 1000,
    "net/core/optmem_max": 131072,
    "net/core/rmem_default": 212992,
    "net/core/rmem_max": 212992,
    "net/core/somaxconn": (4096, 0, 0x7FFFFFFF),
    "net/core/wmem_default": 212992,
    "net/core/wmem_max": 212992,
    "net/ipv4/conf/all/forwarding": 0,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv4/conf/lo/rp_filter": 0,
    "net/ipv4/icmp_echo_ignore_all": 0,
    "net/ipv4/ip_default_ttl": (64, 1, 255),
    "net/ipv4/ip_forward": (0, 0, 1),
    "net/ipv4/ip_local_port_range": "32768\t60999",
    "net/ipv4/ip_local_reserved_ports": "",
    "net/ipv4/ip_nonlocal_bind": 0,
    "net/ipv4/ip_no_pmtu_disc": 0,
    "net/ipv4/ip_unprivileged_port_start": (1024, 0, 65535),
    "net/ipv4/ipfrag_time": 30,
    "net/ipv4/ping_group_range": "1\t0",
    "net/ipv4/tcp_abort_on_overflow": 0,
    "net/ipv4/tcp_allowed_congestion_control": "reno cubic",
    "net/ipv4/tcp_available_congestion_control": "reno cubic",
    "net/ipv4/tcp_base_mss": 1024,
    "net/ipv4/tcp_congestion_control": "cubic",
    "net/ipv4/tcp_dsack": 1,
    "net/ipv4/tcp_ecn": 2,
    "net/ipv4/tcp_fack": 0,
    "net/ipv4/tcp_fastopen": 1,
    "net/ipv4/tcp_fin_timeout": 60,
    "net/ipv4/tcp_keepalive_intvl": 75,
    "net/ipv4/tcp_keepalive_probes": 9,
    "net/ipv4/tcp_keepalive_time": 7200,
    "net/ipv4/tcp_max_orphans": 65536,
    "net/ipv4/tcp_max_syn_backlog": 1024,
    "net/ipv4/tcp_max_tw_buckets": 65536,
    "net/ipv4/tcp_mem": "186426\t248570\t372852",
    "net/ipv4/tcp_moderate_rcvbuf": 1,
    "net/ipv4/tcp_mtu_probing": 0,
    "net/ipv4/tcp_no_metrics_save": 0,
    "net/ipv4/tcp_orphan_retries": 0,
    "net/ipv4/tcp_recovery": 1,
    "net/ipv4/tcp_retries1": 3,
    "net/ipv4/tcp_retries2": 15,
    "net/ipv4/tcp_rfc1337": 0,
    "net/ipv4/tcp_rmem": "4096\t131072\t6291456",
    "net/ipv4/tcp_sack": 1,
    "net/ipv4/tcp_slow_start_after_idle": 1,
    "net/ipv4/tcp_syn_retries": 6,
    "net/ipv4/tcp_synack_retries": 5,
    "net/ipv4/tcp_syncookies": 1,
    "net/ipv4/tcp_timestamps": 1,
    "net/ipv4/tcp_tw_reuse": 2,
    "net/ipv4/tcp_window_scaling": 1,
    "net/ipv4/tcp_wmem": "4096\t16384\t4194304",
    "net/ipv4/udp_mem": "372852\t497140\t745704",
    "net/ipv6/bindv6only": 0,
    "net/ipv6/conf/all/disable_ipv6": 0,
    "net/ipv6/conf/default/disable_ipv6": 0,
    "net/ipv6/conf/lo/disable_ipv6": 0,
    "net/unix/max_dgram_qlen": (512, 0, 0x7FFFFFFF),
    "user/max_cgroup_namespaces": 0,
    "user/max_inotify_instances": 128,
    "user/max_inotify_watches": 65536,
    "user/max_ipc_namespaces": 0,
    "user/max_mnt_namespaces": 96365,
    "user/max_net_namespaces": 0,
    "user/max_pid_namespaces": 0,
    "user/max_time_namespaces": 0,
    "user/max_user_namespaces": 0,
    "user/max_uts_namespaces": 96365,
    "vm/admin_reserve_kbytes": 8192,
    "vm/dirty_background_bytes": 0,
    "vm/dirty_background_ratio": 10,
    "vm/dirty_bytes": 0,
    "vm/dirty_expire_centisecs": 3000,
    "vm/dirty_ratio": 20,
    "vm/dirty_writeback_centisecs": 500,
    "vm/legacy_va_layout": 0,
    "vm/max_map_count": MAX_MAP_COUNT,
    "vm/min_free_kbytes": 67584,
    "vm/mmap_min_addr": MMAP_MIN_ADDR,
    "vm/mmap_rnd_bits": 28,
    "vm/nr_hugepages": 0,
    "vm/nr_overcommit_hugepages": 0,
    "vm/oom_kill_allocating_task": 0,
    "vm/overcommit_kbytes": 0,
    "vm/overcommit_memory": (0, 0, 2),
    "vm/overcommit_ratio": 50,
    "vm/page-cluster": 3,
    "vm/panic_on_oom": 0,
    "vm/swappiness": 60,
    "vm/unprivileged_userfaultfd": 0,
    "vm/user_reserve_kbytes": 131072,
    "vm/vfs_cache_pressure": 100,
    "vm/zone_reclaim_mode": 0,
}


class SysctlInode(TextInode):
    """The mode is the law here, for root too (fs/proc/proc_sysctl.c:test_perm)."""

    __slots__ = ()

    def open(self, t, path, flags):
        if flags & O_ACCMODE != O_RDONLY and not self.mode & 0o222:
            return -EACCES
        return TextFile(flags, self, path)


class Tunable:
    """An integer that may be set."""

    __slots__ = ("value", "low", "high")

    def __init__(self, value, low, high):
        self.value = value
        self.low = low
        self.high = high

    def show(self, t):
        return b"%d\n" % self.value

    def store(self, t, data):
        if not t.creds.capable(CAP_SYS_ADMIN):
            return -EACCES
        try:
            value = int(data.strip(b" \t\n\0"), 0)
        except ValueError:
            return -EINVAL
        if not self.low <= value <= self.high:
            return -EINVAL
        self.value = value
        return len(data)


# Below net/, what only tells what there is.
NET_FIXED = ("net/ipv4/tcp_available_congestion_control", "net/ipv4/ip_local_reserved_ports")


class NetParameter:
    """A parameter of a network namespace: one or more numbers, or a word. `default`: as text."""

    __slots__ = ("path", "default", "low", "high")

    def __init__(self, path, value):
        self.path = path
        value, self.low, self.high = value if isinstance(value, tuple) else (value, -(1 << 31), (1 << 31) - 1)
        self.default = str(value)

    def show(self, t):
        return t.net.sysctls.get(self.path, self.default).encode() + b"\n"

    def store(self, t, data):
        if not t.creds.capable(CAP_NET_ADMIN):
            return -EACCES
        return self.put(t.net, data.strip(b" \t\n\0").decode("latin-1")) or len(data)

    def put(self, net, text: str) -> int:
        """0 or -EINVAL: as many numbers as before, or one word for another."""
        fields, old = text.split(), self.default.split()
        if len(fields) != len(old):
            return -EINVAL
        if old[0].lstrip("-").isdigit():
            for field in fields:
                if not field.lstrip("-").isdigit() or not self.low <= int(field) <= self.high:
                    return -EINVAL
        elif not all(field.isalnum() for field in fields):
            return -EINVAL
        net.sysctls[self.path] = "\t".join(fields)
        return 0


def of_network(name: str) -> bool:
    """Whether this parameter of linux.sysctl belongs to a network namespace."""
    return name.replace("/", ".").startswith("net.")


def preset(net, name: str, value: str) -> bool:
    """linux.sysctl of the OCI configuration: a parameter of the network, before anybody runs. False: there is none, or not with
    this value."""
    path = name if "/" in name else name.replace(".", "/")
    default = CONSTANTS.get(path)
    if default is None or path in NET_FIXED or not path.startswith("net/"):
        return False
    return NetParameter(path, default).put(net, value) == 0


def show_hostname(t):
    return t.uts.hostname + b"\n"


def store_hostname(t, data):
    if not t.creds.capable(CAP_SYS_ADMIN):
        return -EACCES
    t.uts.hostname = data.split(b"\n", 1)[0][:64]
    return len(data)


def show_domainname(t):
    return t.uts.domainname + b"\n"


def store_domainname(t, data):
    if not t.creds.capable(CAP_SYS_ADMIN):
        return -EACCES
    t.uts.domainname = data.split(b"\n", 1)[0][:64]
    return len(data)


def show_boot_id(t):
    kernel = t.kernel
    if kernel.boot_id is None:
        kernel.boot_id = uuid(os.getrandom(16))
    return kernel.boot_id


def show_uuid(t):
    return uuid(os.getrandom(16))


def show_last_pid(t):
    return b"%d\n" % t.tg.pids.last_pid


def fill(root) -> None:
    """Put the tree into the directory /proc/sys."""
    fs = root.fs
    for path, value in CONSTANTS.items():
        where, _, name = path.encode().rpartition(b"/")
        if path.startswith("net/") and path not in NET_FIXED:
            parameter = NetParameter(path, value)
            inode = SysctlInode(fs, 0o644, parameter.show, parameter.store)
        elif isinstance(value, tuple):
            tunable = Tunable(*value)
            inode = SysctlInode(fs, 0o644, tunable.show, tunable.store)
        else:
            inode = SysctlInode(fs, 0o444, fixed(f"{value}\n".encode()))
        root.directory(where).add(name, inode)
    kernel, random = root.directory(b"kernel"), root.directory(b"kernel/random")
    kernel.add(b"hostname", SysctlInode(fs, 0o644, show_hostname, store_hostname))
    kernel.add(b"domainname", SysctlInode(fs, 0o644, show_domainname, store_domainname))
    kernel.add(b"ns_last_pid", SysctlInode(fs, 0o444, show_last_pid))
    random.add(b"boot_id", SysctlInode(fs, 0o444, show_boot_id))
    random.add(b"uuid", SysctlInode(fs, 0o444, show_uuid))
