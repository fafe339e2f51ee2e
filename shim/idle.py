"""When a shim ends by itself. containerd may be killed before it writes down that there is a shim, may keep one that never got
a container (1.6 does, as long as it is connected), and may clean up without reaching it."""

STEP = 2.0  # seconds
STEPS = 5  # counted, rather than one long time: a machine that stood still has not been idle


class Idle:
    """needed: function that tells whether there is something to wait for. over: function that is called after STEPS * STEP seconds
    without that and without a call, and again each time as long."""

    def __init__(self, loop, needed, over):
        self.loop = loop
        self.needed = needed
        self.over = over
        self.steps = 0
        self.counting = False
        self.active()

    def active(self) -> None:
        """Something has happened: begin anew."""
        self.steps = 0
        self.count()

    def count(self) -> None:
        if not self.counting:
            self.counting = True
            self.loop.later(STEP, self.step)

    def step(self) -> None:
        self.counting = False
        if self.needed():
            return
        self.steps += 1
        if self.steps == STEPS:
            self.steps = 0
            self.over()
        self.count()
