"""The worlds that are bisected. But for what their name says, 64 positions, 10 % worse, launches that vary by
3 %, one question, a tolerance of 5 %."""

from __future__ import annotations

from bench.bisect.worlds import World

PROMISED = World("64 positions, +10 %, launches vary by 3 %")
STEPS = (
    PROMISED,
    World("8 positions", last=8),
    World("14 positions", last=14),
    World("256 positions", last=256),
    World("1000 positions", last=1000),
    World("+5 %, tolerance 2.5 %", effect=0.05, tolerance=0.025),
    World("+20 %", effect=0.20),
    World("launches vary by 1 %", spread=0.01),
    World("launches vary by 5 %", spread=0.05),
    World("+5 %, launches vary by 1 %, tolerance 2.5 %", effect=0.05, tolerance=0.025, spread=0.01),
    World("5 % of the launches three times as far off", tails="wild"),
    World("5 % of the launches 30 % slower", tails="slow"),
    World("the machine drifts, 1 % from launch to launch", drift=0.01),
    World("positions differ by up to 1 %", wobble=0.01),
    World("2 loads × 4 metrics", loads=2, metrics=4),
    World("8 around the culprit do not build", stretch=8, around=True),
    World("16 beside the culprit do not build", stretch=16),
    World("20 % do not build", scattered=0.2),
)
OTHERS = (
    World("two culprits, each half of +10 %", shape="two"),
    World("two culprits, each half of +20 %", shape="two", effect=0.20),
    World("mended, and broken again", shape="mended"),
    World("creep to +10 %", shape="creep"),
    World("creep to +10 %, launches vary by 1 %", shape="creep", spread=0.01),
)
UNCHANGED = (
    World("nothing changed", shape="none"),
    World("nothing changed, 2 loads × 4 metrics", shape="none", loads=2, metrics=4),
    World("nothing changed, launches vary by 5 %", shape="none", spread=0.05),
    World("nothing changed, 5 % of the launches three times as far off", shape="none", tails="wild"),
    World("nothing changed, the machine drifts by 1 %", shape="none", drift=0.01),
    World("nothing changed, positions differ by up to 1 %", shape="none", wobble=0.01),
)
CASES = (*STEPS, *OTHERS, *UNCHANGED)
