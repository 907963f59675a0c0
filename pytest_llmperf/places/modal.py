"""A Modal sandbox for each start of an engine.

A sandbox's tunnel is open to the world, so its server gets an API key, unless the subject has one. An engine
that takes none serves whoever finds its URL; the person is told so at each start.
"""

from __future__ import annotations

import dataclasses
import random
import secrets
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest_llmperf
from pytest_llmperf.declare import place as declared
from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.protocol import Command, Engine, Runtime
from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.modal_guardian import SandboxOrder
from pytest_llmperf.places.modal_image import ImageRecipe, check_size
from pytest_llmperf.places.modal_sandbox import Sandbox, told
from pytest_llmperf.places.modal_server import ModalServer
from pytest_llmperf.places.postmortem import secrets_of
from pytest_llmperf.places.process import LOG_LIMIT
from pytest_llmperf.places.protocol import Listener

# In a container of its own any will do; by chance, so that those that share a machine get on as well.
_PORTS = range(10_000, 30_000)
_PACKAGE = Path(pytest_llmperf.__file__).parent
_OURS = ("numpy", "httpx")


class ModalPlace:
    """See :class:`~pytest_llmperf.places.protocol.Place`.

    ``listener`` is told what is waited for, ``note`` what a person has to know in the end.
    """

    def __init__(
        self,
        place: declared.ModalPlace,
        startup_timeout_s: float,
        listener: Listener,
        note: Callable[[str], None],
    ) -> None:
        self._place, self._startup_timeout_s = place, startup_timeout_s
        self._listener, self._note = listener, note
        self.name = f"modal {place.hardware}"

    def prepare(self, engine: Engine, subject: Subject) -> Runtime:
        """Have the image built."""
        needed = engine.gpus(subject)
        if needed > self._place.gpus:
            has = f"{self._place.gpus} of them" if self._place.gpus else "none"
            raise EngineError(
                f"{subject} needs {needed} GPU{'s' if needed > 1 else ''}, and the place has {has}: "
                f"--llmperf-place 'modal gpu=H100!{f':{needed}' if needed > 1 else ''} …'"
            )
        recipe = self._recipe(engine, subject)
        self._listener.phase(f"having Modal build {recipe}")
        with told():
            import modal

            app = modal.App.lookup(self._place.app, create_if_missing=True)
            recipe.image().build(app)
        # What an image of somebody's own has in it, only the engine can tell.
        return Runtime("python3", subject.version if self._place.image is None else None)

    def model(self, engine: Engine, model: str | None) -> str:
        """What is on a volume is taken as it is; it is not seen from here."""
        if model is not None and self._is_on_a_volume(model):
            return model
        return engine.model(model)

    def _is_on_a_volume(self, model: str) -> bool:
        return any(Path(model).is_relative_to(path) for _, path in self._place.volumes)

    def _is_sent(self, model: str) -> bool:
        """Whether it is a file or folder of this machine."""
        return Path(model).is_absolute() and not self._is_on_a_volume(model) and Path(model).exists()

    def start(self, engine: Engine, subject: Subject, runtime: Runtime, model: str, log: Path) -> ModalServer:
        guarded, api_key = _guarded(engine, subject)
        if api_key is None:
            self._note(
                f"{subject}: open to the world without a key: {engine.name} takes none, and its tunnel "
                "is public while its sandbox runs"
            )
        port = random.choice(_PORTS)
        command = engine.command(guarded, model, runtime, "0.0.0.0", port)
        recipe = self._recipe(engine, subject)
        order = self._order(command, recipe, model, port, log)
        self._listener.phase(f"waiting for a sandbox of Modal's ({self._place.hardware}) for {subject}")
        sandbox = Sandbox(order, self._startup_timeout_s)
        self._listener.phase(f"starting {subject}")
        return ModalServer(
            sandbox,
            self._place,
            command,
            port=port,
            image=str(recipe),
            log=log,
            api_key=api_key,
            is_model_sent=self._is_sent(model),
            note=self._note,
        )

    def close(self) -> None:
        """Nothing is held from one sandbox to the next."""

    def _recipe(self, engine: Engine, subject: Subject) -> ImageRecipe:
        if self._place.image is not None:
            return ImageRecipe(self._place.image)
        if subject.path is not None or subject.version is None:
            raise EngineError(
                f"{subject}: on Modal an engine comes from an image: name a version ({engine.name}==…), or "
                "an image of your own (--llmperf-place 'modal image=…')"
            )
        if (image := engine.image(subject.version)) is not None:
            return ImageRecipe(image)
        if engine.distribution is None:
            raise EngineError(f"{subject}: there is no public image of it: --llmperf-place 'modal image=…'")
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        return ImageRecipe(None, (f"{engine.distribution}=={subject.version}", *_OURS), python)

    def _order(self, command: Command, recipe: ImageRecipe, model: str, port: int, log: Path) -> SandboxOrder:
        place, files = self._place, [str(_PACKAGE)]
        if self._is_sent(model):
            check_size(Path(model))
            files.append(model)
        return SandboxOrder(
            app=place.app,
            tag=uuid.uuid4().hex,
            recipe=dataclasses.asdict(dataclasses.replace(recipe, files=files)),
            argv=command.argv,
            env=dict(command.env),
            gpu=place.gpu,
            region=place.region,
            volumes=place.volumes,
            secrets=place.secrets,
            timeout_s=place.timeout_s,
            cpu=place.cpu,
            memory_mib=place.memory_mib,
            port=port,
            log=str(log),
            log_limit=LOG_LIMIT,
            hidden=secrets_of(command),
        )


def _guarded(engine: Engine, subject: Subject) -> tuple[Subject, str | None]:
    """The subject with an API key, and the key; unchanged if it has one, and None if the engine takes none.

    Raises :class:`EngineError` if an engine that takes keys would serve without one.
    """
    own = engine.api_key(subject)
    # What this machine's environment has does not get into the container.
    if own and own in (*dict(subject.env).values(), *(arg.partition("=")[2] or arg for arg in subject.args)):
        return subject, own
    # Hexadecimal: what begins with a dash would be taken for a flag.
    key = secrets.token_hex(24)
    alone = dataclasses.replace(subject, args=("--api-key", key))
    if engine.distribution is None or engine.api_key(alone) != key:
        return subject, None  # whatever it is, it may not know the flag
    guarded = dataclasses.replace(subject, args=(*subject.args, "--api-key", key))
    if engine.api_key(guarded) != key:
        raise EngineError(
            f"{subject}: its flags leave it without an API key, and a sandbox's tunnel is open to the world: "
            "give --api-key a value, or leave it out to have one made"
        )
    return guarded, key
