"""Takes the steps of a model in every order, breadth first, and looks at each state once: what it finds wrong
it finds on a shortest way.
"""

import time
from collections import deque
from dataclasses import dataclass

from tests.consistency.model.protocol import State, World


@dataclass(frozen=True)
class Explored:
    """How many states there are, how many steps between them, and the first one in which somebody is served
    what is not in the source: the steps that lead there, and what is wrong.
    """

    states: int
    steps: int
    seconds: float
    way: tuple[str, ...] = ()
    wrong: str = ""

    def __str__(self) -> str:
        counted = f"{self.states:,} states, {self.steps:,} steps, {self.seconds:.1f} s"
        return "\n".join(
            [counted, *(f"  {step}" for step in self.way), *([f"  {self.wrong}"] if self.wrong else [])]
        )


def explore(world: World) -> Explored:
    """Look at every state that can be reached, or stop at the first that is wrong."""
    started, steps = time.monotonic(), 0
    first = world.start()
    came_from: dict[State, tuple[State, str] | None] = {first: None}
    waiting = deque([first])
    while waiting:
        state = waiting.popleft()
        wrong = world.wrong(state)
        if wrong:
            way: list[str] = []
            link = came_from[state]
            while link is not None:
                way.append(link[1])
                link = came_from[link[0]]
            return Explored(len(came_from), steps, time.monotonic() - started, tuple(reversed(way)), wrong)
        for label, after in world.steps(state):
            steps += 1
            if after not in came_from:
                came_from[after] = (state, label)
                waiting.append(after)
    return Explored(len(came_from), steps, time.monotonic() - started)
