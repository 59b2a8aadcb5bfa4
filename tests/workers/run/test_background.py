"""What is built in the background: in turn, and not while a model is loaded."""

from __future__ import annotations

import threading
import weakref
from functools import partial

from cupola.workers.run.background import BackgroundBuild, BuildOrder

NEVER = 0.2  # seconds in which something would happen that must not


class Model:
    """Something that a build needs."""


class Build:
    """A build that lasts until it may end."""

    def __init__(self, order: BuildOrder) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.background = BackgroundBuild(self, "part", order)

    def __call__(self) -> str:
        self.begun.set()
        assert self.may_end.wait(60)
        return "built"

    def end(self) -> None:
        self.may_end.set()
        self.background.wait()


def test_one_thing_is_built_after_the_other() -> None:
    order = BuildOrder()
    builds = [Build(order) for _ in range(3)]
    for number, build in enumerate(builds):
        assert build.begun.wait(60)
        for later in builds[number + 1 :]:
            assert not later.begun.wait(NEVER)
        build.end()
        assert build.background.value == "built"


def test_a_build_that_fails_ends_its_turn() -> None:
    def fails() -> str:
        raise OSError("the disk is full")

    order = BuildOrder()
    first, second = BackgroundBuild(fails, "part", order), Build(order)
    second.end()
    assert (first.value, second.background.value) == (None, "built")


def test_nothing_is_begun_while_a_model_is_loaded_and_the_load_waits_for_nothing() -> None:
    order = BuildOrder()
    running, next_ = Build(order), Build(order)
    assert running.begun.wait(60)
    with order.load(), order.load():
        assert not next_.background.ended
        running.end()
        assert not next_.begun.wait(NEVER)
    next_.end()
    assert next_.background.value == "built"


def test_what_waits_keeps_no_model_that_is_unloaded() -> None:
    order, model = BuildOrder(), Model()
    built: list[Model] = []
    with order.load():
        build: BackgroundBuild[None] = BackgroundBuild(partial(built.append, model), "part", order)
        alive = weakref.ref(model)
        del build, model
        assert alive() is None
    last = Build(order)
    last.end()
    assert built == []
