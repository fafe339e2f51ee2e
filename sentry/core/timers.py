"""Timers of the dispatcher: a heap of absolute CLOCK_MONOTONIC deadlines in nanoseconds."""

import heapq
from time import monotonic_ns

NEVER = (1 << 63) - 1  # no clock gets there


class Timer:
    __slots__ = ("deadline", "callback", "active", "seq")

    def __init__(self, deadline, callback, seq):
        self.deadline = deadline
        self.callback = callback
        self.active = True
        self.seq = seq

    def __lt__(self, other):
        return self.deadline < other.deadline or (self.deadline == other.deadline and self.seq < other.seq)

    def cancel(self):
        self.active = False
        self.callback = None


class Timers:
    def __init__(self):
        self.heap = []
        self.seq = 0

    def add(self, deadline: int, callback) -> Timer:
        """Call callback() from the dispatcher once `deadline` (ns, CLOCK_MONOTONIC) has passed."""
        self.seq += 1
        timer = Timer(min(deadline, NEVER), callback, self.seq)
        heapq.heappush(self.heap, timer)
        return timer

    def next_deadline(self) -> "int | None":
        heap = self.heap
        while heap and not heap[0].active:
            heapq.heappop(heap)
        return heap[0].deadline if heap else None

    def expire(self) -> None:
        heap = self.heap
        if not heap:
            return
        now = monotonic_ns()
        while heap and (not heap[0].active or heap[0].deadline <= now):
            timer = heapq.heappop(heap)
            if timer.active:
                timer.active = False
                timer.callback()
