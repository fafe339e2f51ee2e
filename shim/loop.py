"""The shim's event loop: descriptors, timers, one thread."""

from time import monotonic

import select

IN, OUT, PRI, ERR, HUP = select.EPOLLIN, select.EPOLLOUT, select.EPOLLPRI, select.EPOLLERR, select.EPOLLHUP


class Loop:
    """failed: function(exception), told of what a callback raises; the loop goes on."""

    def __init__(self, failed):
        self.failed = failed
        self.epoll = select.epoll()
        self.callbacks = {}  # descriptor -> function(events)
        self.timers = []  # (time, function)
        self.running = True

    def watch(self, fd, events, callback) -> None:
        """Call callback(events) whenever `fd` is ready. Again with other events: a change."""
        if fd in self.callbacks:
            self.epoll.modify(fd, events)
        else:
            self.epoll.register(fd, events)
        self.callbacks[fd] = callback

    def unwatch(self, fd) -> None:
        if self.callbacks.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    def later(self, seconds, function) -> None:
        self.timers.append((monotonic() + seconds, function))

    def run(self) -> None:
        while self.running:
            timeout = -1 if not self.timers else max(0, min(when for when, _ in self.timers) - monotonic())
            for fd, events in self.epoll.poll(timeout):
                callback = self.callbacks.get(fd)  # one before may have unwatched it
                if callback is not None:
                    self.run_callback(callback, events)
            now = monotonic()
            due = [timer for timer in self.timers if timer[0] <= now]
            self.timers = [timer for timer in self.timers if timer[0] > now]
            for _, function in due:
                self.run_callback(function)

    def run_callback(self, function, *args) -> None:
        try:
            function(*args)
        except Exception as error:
            self.failed(error)
