"""The calls that Modal's client makes, answered for containers of this machine.

Only what the client needs for a sandbox; anything else is answered as unimplemented, and noted.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
import json
import ssl
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grpclib import GRPCError, Status
from grpclib.server import Stream
from modal_proto import api_grpc, api_pb2, task_command_router_grpc
from modal_proto import task_command_router_pb2 as router

from tests.modal.container import Container, ContainerProcess

_BUILDER = "2025.06"
_POLL_S = 0.02


def _with_the_rest_unimplemented(base: type[Any]) -> type[Any]:
    """The generated base class, made concrete."""

    def unimplemented(name: str) -> Any:
        async def answer(self: Any, stream: Any) -> None:
            self.unimplemented[name] += 1
            raise GRPCError(Status.UNIMPLEMENTED, f"not in the stand-in: {name}")

        return answer

    return type(base.__name__, (base,), {name: unimplemented(name) for name in base.__abstractmethods__})


_ControlPlaneBase: Any = _with_the_rest_unimplemented(api_grpc.ModalClientBase)
_WorkerBase: Any = _with_the_rest_unimplemented(task_command_router_grpc.TaskCommandRouterBase)


async def _request(stream: Stream[Any, Any]) -> Any:
    request = await stream.recv_message()
    assert request is not None
    return request


async def _send_output(process: ContainerProcess, fd: int, offset: int, send: Any) -> None:
    """What the process wrote from ``offset`` on, as it comes, until its end."""
    while True:
        is_last = process.ended.is_set()
        if offset < len(process.output[fd]):
            data = bytes(process.output[fd][offset : offset + 65536])
            offset += len(data)
            await send(data, offset)
        elif is_last:
            return
        else:
            await asyncio.sleep(_POLL_S)


class ControlPlane(_ControlPlaneBase):  # type: ignore[misc]
    """``lifetime_s`` cuts short what a sandbox was promised; ``secrets`` are the workspace's, by name.

    ``programs`` is a directory of programs that every image has, ``python`` is its ``python3``.

    An image whose Dockerfile has ``unbuildable`` in it cannot be built, and ``capacity`` says for how many
    sandboxes there is room. The answer to a creation takes ``delay_s``, the sandbox runs meanwhile.
    ``cannot_execute`` is why nothing can be run beside an engine.
    The next ``refusals`` terminations are refused, or all unless ``may_terminate``.
    """

    def __init__(self, tls: ssl.SSLContext, programs: Path) -> None:
        self.programs = programs
        self.unimplemented: Counter[str] = Counter()
        self.lifetime_s: float | None = None
        self.capacity = 100
        self.python = sys.executable
        self.delay_s = 0.0
        self.may_terminate = True
        self.refusals = 0
        self.cannot_execute = ""
        self.accepts_tokens = True
        self.secrets: dict[str, dict[str, str]] = {}
        self.containers: dict[str, Container] = {}
        self._numbers = itertools.count()
        self.images: dict[str, str] = {}
        self.uploaded: dict[str, str] = {}
        """By path, the SHA-256 of what was mounted there."""
        self.worker_url = self.blob_url = ""
        self._tls = tls
        self._stored: set[str] = set()
        self._known_secrets: dict[str, Mapping[str, str]] = {}
        self._layers: dict[str, str] = {}

    # -- who is there ---------------------------------------------------------------------------------

    async def ClientHello(self, stream: Stream[Any, Any]) -> None:
        await _request(stream)
        if not self.accepts_tokens:
            raise GRPCError(Status.UNAUTHENTICATED, "Token ID is invalid.")
        await stream.send_message(api_pb2.ClientHelloResponse())

    async def AuthTokenGet(self, stream: Stream[Any, Any]) -> None:
        await _request(stream)
        parts = [json.dumps(part).encode() for part in ({"alg": "none"}, {"exp": time.time() + 86400})]
        token = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (*parts, b"x")).decode()
        await stream.send_message(api_pb2.AuthTokenGetResponse(token=token))

    async def AppGetOrCreate(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        await stream.send_message(api_pb2.AppGetOrCreateResponse(app_id=f"ap-{request.app_name}"))

    async def EnvironmentGetOrCreate(self, stream: Stream[Any, Any]) -> None:
        await _request(stream)
        settings = api_pb2.EnvironmentSettings(image_builder_version=_BUILDER)
        metadata = api_pb2.EnvironmentMetadata(name="main", settings=settings)
        await stream.send_message(
            api_pb2.EnvironmentGetOrCreateResponse(environment_id="en-1", metadata=metadata)
        )

    # -- what a sandbox is made of --------------------------------------------------------------------

    async def ImageGetOrCreate(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        commands = "\n".join(request.image.dockerfile_commands)
        image_id = f"im-{hashlib.sha256(request.image.SerializeToString()).hexdigest()[:10]}"
        self.images[image_id] = commands
        if "unbuildable" in commands:
            result = api_pb2.GenericResult(
                status=api_pb2.GenericResult.GENERIC_STATUS_FAILURE,
                exception="MANIFEST_UNKNOWN: manifest unknown",
            )
        else:
            result = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
        await stream.send_message(
            api_pb2.ImageGetOrCreateResponse(
                image_id=image_id,
                result=result,
                metadata=api_pb2.ImageMetadata(image_builder_version=_BUILDER),
            )
        )

    async def MountBatchedCheckExistence(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        missing = [digest for digest in request.sha256_hex_hashes if digest not in self._stored]
        await stream.send_message(
            api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)
        )

    async def MountPutFile(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        if request.data_blob_id:
            assert request.data_blob_id == f"bl-{request.sha256_hex}"
        else:
            assert hashlib.sha256(request.data).hexdigest() == request.sha256_hex
        self._stored.add(request.sha256_hex)
        await stream.send_message(api_pb2.MountPutFileResponse(exists=True))

    async def BlobCreate(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        digest = base64.b64decode(request.content_sha256_base64).hex()
        urls = api_pb2.UploadUrlList(items=[f"{self.blob_url}/{digest}"])
        await stream.send_message(api_pb2.BlobCreateResponse(blob_ids=[f"bl-{digest}"], upload_urls=urls))

    async def MountGetOrCreate(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        self.uploaded |= {file.filename: file.sha256_hex for file in request.files}
        assert {file.sha256_hex for file in request.files} <= self._stored
        metadata = api_pb2.MountHandleMetadata(content_checksum_sha256_hex="0" * 64)
        await stream.send_message(api_pb2.MountGetOrCreateResponse(mount_id="mo-1", handle_metadata=metadata))

    async def VolumeGetOrCreate(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        metadata = api_pb2.VolumeMetadata(name=request.deployment_name, version=request.version)
        await stream.send_message(
            api_pb2.VolumeGetOrCreateResponse(
                volume_id=f"vo-{request.deployment_name}", version=request.version, metadata=metadata
            )
        )

    async def SecretGetOrCreate(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        name = request.deployment_name
        if name and name not in self.secrets:
            raise GRPCError(Status.NOT_FOUND, f"Secret '{name}' not found in environment 'main'")
        secret_id = f"st-{len(self._known_secrets)}"
        self._known_secrets[secret_id] = self.secrets[name] if name else dict(request.env_dict)
        metadata = api_pb2.SecretMetadata(name=name)
        await stream.send_message(api_pb2.SecretGetOrCreateResponse(secret_id=secret_id, metadata=metadata))

    # -- sandboxes: the calls of those with a GPU, and (V2) of those without ----------------------------

    def argv(self, asked: Sequence[str]) -> list[str]:
        return [self.python if asked[0] == "python3" else asked[0], *asked[1:]]

    async def _create(self, request: Any, env: Mapping[str, str]) -> Container:
        if len(self.containers) >= self.capacity:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, "no capacity")
        definition = request.definition
        tags = {tag.tag_name: tag.tag_value for tag in request.tags}
        container = Container(next(self._numbers), definition, tags, self.programs)
        lifetime_s = self.lifetime_s or definition.timeout_secs
        await container.start(self.argv(definition.entrypoint_args), env, self._tls, lifetime_s)
        # Only now: one whose start is given up half-way could never be terminated.
        self.containers[container.sandbox_id] = container
        await asyncio.sleep(self.delay_s)
        return container

    async def SandboxCreate(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        env: dict[str, str] = {}
        for secret_id in request.definition.secret_ids:
            env |= self._known_secrets[secret_id]
        container = await self._create(request, env)
        metadata = api_pb2.SandboxHandleMetadata(app_id=request.app_id)
        await stream.send_message(
            api_pb2.SandboxCreateResponse(sandbox_id=container.sandbox_id, metadata=metadata)
        )

    async def SandboxCreateV2(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        env: dict[str, str] = {}
        for source in request.secret_sources:
            env |= self._known_secrets[source.secret_id] if source.secret_id else dict(source.env.contents)
        container = await self._create(request, env)
        await stream.send_message(
            api_pb2.SandboxCreateV2Response(
                sandbox_id=container.sandbox_id,
                task_id=container.task_id,
                metadata=api_pb2.SandboxHandleMetadata(app_id=request.app_id),
                command_router_access=self._access(),
            )
        )

    def _access(self) -> api_pb2.CommandRouterAccess:
        return api_pb2.CommandRouterAccess(url=self.worker_url, jwt="x.e30.x")

    async def SandboxGetTaskId(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        task_id = self.containers[request.sandbox_id].task_id
        await stream.send_message(api_pb2.SandboxGetTaskIdResponse(task_id=task_id))

    SandboxGetTaskIdV2 = SandboxGetTaskId

    async def SandboxGetTunnels(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        tunnels = [
            api_pb2.TunnelData(host="127.0.0.1", port=outer, container_port=inner)
            for inner, outer in self.containers[request.sandbox_id].tunnels.items()
        ]
        success = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
        await stream.send_message(api_pb2.SandboxGetTunnelsResponse(result=success, tunnels=tunnels))

    SandboxGetTunnelsV2 = SandboxGetTunnels

    async def SandboxWait(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        container = self.containers[request.sandbox_id]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(container.main.ended.wait(), request.timeout or _POLL_S)
        await stream.send_message(api_pb2.SandboxWaitResponse(result=container.result()))

    SandboxWaitV2 = SandboxWait

    async def SandboxTerminate(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        if not self.may_terminate or self.refusals > 0:
            self.refusals -= 1
            raise GRPCError(Status.PERMISSION_DENIED, "not allowed to")
        await self.containers[request.sandbox_id].stop(api_pb2.GenericResult.GENERIC_STATUS_TERMINATED)
        await stream.send_message(api_pb2.SandboxTerminateResponse())

    SandboxTerminateV2 = SandboxTerminate

    async def SandboxGetLogs(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        fd = 2 if request.file_descriptor == api_pb2.FILE_DESCRIPTOR_STDERR else 1

        async def send(data: bytes, offset: int) -> None:
            item = api_pb2.TaskLogs(
                data=data.decode(errors="replace"), file_descriptor=request.file_descriptor
            )
            await stream.send_message(api_pb2.TaskLogsBatch(entry_id=str(offset), items=[item]))

        offset = int(request.last_entry_id or 0)
        await _send_output(self.containers[request.sandbox_id].main, fd, offset, send)
        await stream.send_message(api_pb2.TaskLogsBatch(entry_id="end", eof=True))

    async def SandboxList(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        wanted = {tag.tag_name: tag.tag_value for tag in request.tags}
        running = [
            api_pb2.SandboxInfo(id=container.sandbox_id, created_at=1.0)
            for container in self.containers.values()
            if container.result() is None and wanted.items() <= container.tags.items()
        ]
        # One page: the client asks for those before it next.
        await stream.send_message(
            api_pb2.SandboxListResponse(sandboxes=[] if request.before_timestamp else running)
        )

    SandboxListV2 = SandboxList

    async def TaskGetCommandRouterAccess(self, stream: Stream[Any, Any]) -> None:
        await _request(stream)
        access = self._access()
        await stream.send_message(api_pb2.TaskGetCommandRouterAccessResponse(url=access.url, jwt=access.jwt))

    async def SandboxGetCommandRouterAccess(self, stream: Stream[Any, Any]) -> None:
        await _request(stream)
        access = self._access()
        await stream.send_message(
            api_pb2.SandboxGetCommandRouterAccessResponse(url=access.url, jwt=access.jwt)
        )


class Worker(_WorkerBase):  # type: ignore[misc]
    """The machine that containers run on, which the client talks to about their processes."""

    def __init__(self, plane: ControlPlane) -> None:
        self.unimplemented: Counter[str] = Counter()
        self._plane = plane
        self._processes: dict[str, ContainerProcess] = {}

    def _container(self, task_id: str) -> Container:
        return next(one for one in self._plane.containers.values() if one.task_id == task_id)

    async def SandboxStdioReadV2(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        fd = 2 if request.file_descriptor == router.SANDBOX_STDIO_FILE_DESCRIPTOR_STDERR else 1

        async def send(data: bytes, offset: int) -> None:
            response = router.SandboxStdioReadV2Response(data=data, starting_offset=offset - len(data))
            await stream.send_message(response)

        await _send_output(self._container(request.task_id).main, fd, request.offset, send)

    async def TaskExecStart(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        container = self._container(request.task_id)
        if self._plane.cannot_execute:
            raise GRPCError(Status.PERMISSION_DENIED, self._plane.cannot_execute)
        if container.main.ended.is_set():
            raise GRPCError(Status.NOT_FOUND, "the container is gone")
        process = ContainerProcess()
        try:
            await process.start(self._plane.argv(request.command_args), {}, container.path)
        except OSError as error:
            raise GRPCError(Status.INVALID_ARGUMENT, f"exec: {request.command_args[0]}: {error}") from None
        self._processes[request.exec_id] = container.beside[request.exec_id] = process
        await stream.send_message(router.TaskExecStartResponse())

    async def TaskExecStdinWrite(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        await self._processes[request.exec_id].write(request.data, eof=request.eof)
        await stream.send_message(router.TaskExecStdinWriteResponse())

    async def TaskExecStdioRead(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        fd = 2 if request.file_descriptor == router.TASK_EXEC_STDIO_FILE_DESCRIPTOR_STDERR else 1

        async def send(data: bytes, offset: int) -> None:
            await stream.send_message(router.TaskExecStdioReadResponse(data=data))

        await _send_output(self._processes[request.exec_id], fd, request.offset, send)

    async def TaskExecWait(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        process = self._processes[request.exec_id]
        await process.ended.wait()
        await stream.send_message(router.TaskExecWaitResponse(code=process.exit_code))

    async def TaskExecPoll(self, stream: Stream[Any, Any]) -> None:
        request = await _request(stream)
        process = self._processes[request.exec_id]
        ended = {"code": process.exit_code} if process.ended.is_set() else {}
        await stream.send_message(router.TaskExecPollResponse(**ended))
