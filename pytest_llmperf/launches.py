"""The launches of a session: one engine runs at a time, and all that ran are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytest_llmperf.declare.markers import Plan
from pytest_llmperf.declare.settings import Settings
from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.protocol import Engine
from pytest_llmperf.errors import EngineError
from pytest_llmperf.keep.record import RecordFile, Store, now
from pytest_llmperf.keep.subject import subject_fields
from pytest_llmperf.load.launch import Launch
from pytest_llmperf.places.postmortem import command_line
from pytest_llmperf.places.protocol import Place
from pytest_llmperf.places.url import ExistingServer
from pytest_llmperf.report.progress import Progress
from pytest_llmperf.turn import Side


class Launches:
    """Which launch tests are measured in now: that of a subject, on a side, in a round.

    ``told`` is what the record says of them all, in the order of their starts.
    """

    def __init__(
        self,
        settings: Settings,
        engines: Mapping[str, Engine],
        place: Place,
        progress: Progress,
        note: Callable[[str], None],
        store: Store,
        record: RecordFile,
    ) -> None:
        """``place`` is where engines are started; ``note`` takes what a person has to know in the end. Logs
        are kept in ``store``, under the name of the record."""
        self._settings, self.engines, self._place = settings, engines, place
        self._progress, self._note = progress, note
        self._store, self._stem = store, record.path.stem
        self._launch: Launch | None = None
        self._told_of: Launch | None = None
        self._launch_is: tuple[int, Side, Subject] | None = None
        self._now: tuple[int, Side] = 0, "candidate"
        self._broken: dict[tuple[int, Side, Subject], EngineError] = {}
        self.told: list[dict[str, Any]] = []
        self.asked: Subject | None = None
        """What was to be running, or started, last."""

    def begin(self, number: int, side: Side) -> None:
        """From here on tests are measured in the launch of this side in round ``number`` (0, 1, …)."""
        self._now = number, side

    @property
    def round(self) -> int:
        """The number of the round, from 1 on."""
        return self._now[0] + 1

    @property
    def side(self) -> Side:
        return self._now[1]

    @property
    def measures_base(self) -> bool:
        """Whether what is measured now is what another is compared with."""
        return self.side == "base"

    def subject(self, plan: Plan) -> Subject:
        """What a test is measured against now."""
        base = self._settings.against
        return base if self.measures_base and base is not None else plan.subject

    def most_rounds(self, plan: Plan) -> int:
        """How often a test may be measured: servers that run already are not launched, so another round would
        tell nothing about launches."""
        launches, base = self._settings.launches, self._settings.against
        runs_already = plan.subject.url is not None or (base is not None and base.url is not None)
        return 1 if runs_already and not launches.are_fixed else launches.most

    def start(self, subject: Subject) -> Launch:
        """The running launch of this subject, side and round; started, after stopping another, if need be.

        One that died or hangs since an earlier test, which was told, is started anew. Raises
        :class:`EngineError`; a subject that failed to start is not tried again in this round.
        """
        number, side = self._now
        wanted = number, side, subject
        self.asked = subject
        if self._launch is not None and self._launch_is == wanted and self._launch.is_answering():
            return self._launch
        if failed := self._broken.get(wanted):
            raise EngineError(f"{failed}\n(not tried again for this test)")
        self.stop()
        of = "-base" if self.measures_base else ""
        name = f"{self._stem}-{subject.engine}{of}-launch{len(self.told) + 1}.log"
        doing = "starting" if subject.url is None else "connecting to"
        self._progress.phase(f"{self.where(': ')}{doing} {subject}")
        settings, log = self._settings, self._store.logs() / name
        try:
            self._launch = Launch(
                subject,
                self.engines[subject.engine],
                settings.model,
                place=ExistingServer() if subject.url is not None else self._place,
                log=log,
                startup_timeout_s=settings.startup_timeout_s,
                request_timeout_s=settings.request_timeout_s,
                workers=settings.workers,
                waiting=self._progress.waiting,
                watch=self._progress.tick,
            )
        except EngineError as error:
            self._broken[wanted] = error
            raise
        self._launch_is = wanted
        self._tell(self._launch)
        return self._launch

    def running(self, subject: Subject) -> Launch:
        """The launch of this subject, side and round. Raises :class:`EngineError` if it is not there."""
        if self._launch is None or self._launch_is != (*self._now, subject):
            raise EngineError(f"{subject} does not run; was llmperf() called after its test ended?")
        self._launch.check_alive()
        return self._launch

    def number(self, launch: Launch) -> int:
        """A server that we cannot start again is one launch, however often it is measured."""
        return self.round if launch.startup_s else 1

    def where(self, end: str) -> str:
        """The round and the side in words, where there may be others."""
        launches, base = self._settings.launches, self._settings.against
        words = []
        if launches.are_fixed and launches.most > 1:
            words.append(f"round {self.round} of {launches.most}")
        elif self.round > 1 or base is not None or launches.first(compares=self._settings.update) > 1:
            words.append(f"round {self.round}")
        if base is not None:
            words.append(self.side)
        return f"{', '.join(words)}{end}" if words else ""

    def disturbances(self, launch: Launch) -> list[str]:
        """What disturbs the measurements of this launch, or did since the last call; the person is told."""
        found = launch.server.disturbances()
        for text in found:
            self._note(f"{launch.subject}: {text}")
        return found

    def stop(self) -> None:
        """Stop the running engine, if there is one."""
        if self._launch is not None:
            launch, self._launch = self._launch, None
            if launch.subject.url is None:
                self._progress.phase(f"stopping {launch.subject}")
            try:
                launch.stop()
            finally:
                if self._told_of is launch:  # not if it was interrupted as soon as it ran
                    self.told[-1]["hardware"] |= launch.server.hardware()

    def close(self) -> None:
        """Stop the running engine, and give back what is kept from one to the next."""
        try:
            self.stop()
        finally:
            self._place.close()

    def _tell(self, launch: Launch) -> None:
        entry: dict[str, Any] = {
            "launch": self.number(launch),
            "side": self.side,
            "started": now().isoformat(timespec="seconds"),
            "subject": subject_fields(launch.subject, launch.description),
            "text": str(launch.subject),
            "command": None if launch.command is None else command_line(launch.command),
            "startup_s": launch.startup_s,
            "startup_cache": launch.startup.cache,
            "startup_phases": dict(launch.startup.phases),
            "log": str(launch.log) if launch.startup_s else None,
            "hardware": {},
        }
        self.told.append(entry)
        self._told_of = launch
        entry["hardware"] = dict(launch.server.hardware())
        entry["disturbances"] = self.disturbances(launch)
