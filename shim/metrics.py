"""What Stats answers: a container's cgroup figures in containerd's messages."""

import task_pb2

from sandbox import cgroup_stats

UNLIMITED = 2**64 - 1


def limit(value) -> int:
    return UNLIMITED if value < 0 else value


def of(leaves) -> "task_pb2.Any":
    """leaves: [[controller or "", directory]]."""
    usage = cgroup_stats.Usage(leaves)
    message = unified(usage) if usage.unified else v1(usage)
    return task_pb2.Any(type_url=type(message).DESCRIPTOR.full_name, value=message.SerializeToString())


def copy(table, message) -> None:
    """Fields that are named as the keys of `table`."""
    for field in message.DESCRIPTOR.fields_by_name:
        if field in table and field not in ("usage", "swap"):
            setattr(message, field, table[field])


def v1(usage):
    from metrics_v1_pb2 import Metrics

    m = Metrics()
    m.pids.current, m.pids.limit = usage.pids, usage.pids_limit
    m.cpu.usage.total, m.cpu.usage.kernel, m.cpu.usage.user = usage.cpu, usage.cpu_system, usage.cpu_user
    m.cpu.usage.per_cpu.extend(usage.per_cpu)
    m.cpu.throttling.periods, m.cpu.throttling.throttled_periods = usage.periods, usage.throttled
    m.cpu.throttling.throttled_time = usage.throttled_ns
    copy(usage.memory_stat, m.memory)
    entry = m.memory.usage
    entry.usage, entry.max, entry.failcnt = usage.memory, usage.memory_peak, usage.memory_failures
    entry.limit = limit(usage.memory_limit)
    m.memory.swap.usage, m.memory.swap.max, m.memory.swap.limit = usage.swap, usage.swap_peak, limit(usage.swap_limit)
    m.memory_oom_control.oom_kill = usage.oom_kills
    for major, minor, operation, size, count in usage.io:
        m.blkio.io_service_bytes_recursive.add(op=operation, major=major, minor=minor, value=size)
        m.blkio.io_serviced_recursive.add(op=operation, major=major, minor=minor, value=count)
    return m


def unified(usage):
    from metrics_v2_pb2 import Metrics

    m = Metrics()
    m.pids.current, m.pids.limit = usage.pids, usage.pids_limit
    m.cpu.usage_usec, m.cpu.user_usec, m.cpu.system_usec = (
        value // 1000 for value in (usage.cpu, usage.cpu_user, usage.cpu_system)
    )
    m.cpu.nr_periods, m.cpu.nr_throttled, m.cpu.throttled_usec = usage.periods, usage.throttled, usage.throttled_ns // 1000
    copy(usage.memory_stat, m.memory)
    m.memory.usage, m.memory.usage_limit = usage.memory, limit(usage.memory_limit)
    m.memory.swap_usage, m.memory.swap_limit = usage.swap, limit(usage.swap_limit)
    m.memory_events.oom_kill, m.memory_events.max = usage.oom_kills, usage.memory_failures
    devices = {}
    for major, minor, operation, size, count in usage.io:
        entry = devices.setdefault((major, minor), {})
        entry.update({"rbytes": size, "rios": count} if operation == "Read" else {"wbytes": size, "wios": count})
    for (major, minor), values in devices.items():
        m.io.usage.add(major=major, minor=minor, **values)
    return m
