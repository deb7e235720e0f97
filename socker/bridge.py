# SPDX-License-Identifier: Apache-2.0
"""
The bridge: what the C side of socker-policy calls, through cffi.

    from socker.bridge import close_job, open_step, save_container, sweep_node

They take cffi's `ffi` and pointers to the structs of spank/wire.h, and return POLICY_DONE only after the answer was
filled completely; anything else means refuse. Nothing is raised: whatever goes wrong inside is a refusal with one line
for the user and its traceback in the node's log.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from socker.cdi import CdiDevice
    from socker.engine import DockerEngine
    from socker.lifecycle import Closed, Opened, Plain, Refusal
    from socker.model import Facts, Request
    from socker.ports import Catalogue, DockerApi
    from socker.saving import Saved
    from socker.sitepolicy import Decide
    from socker.wire import FFI, Struct

FAILED = 0
FACTS_SECONDS = 10.0  # for asking Slurm about a job

# Imports stand in the functions: a package that is broken is then a refusal, too, and closing loads no policy.


def open_step(ffi: FFI, request: Struct, plan: Struct) -> int:
    """Answer a step's request: open its container, or say why not."""
    try:
        from socker import wire  # noqa: PLC0415

        wire.zero(ffi, plan)
        if not wire.is_whole(ffi, request, wire.REQUEST_MAGIC):
            return FAILED
        _fill_open(ffi, request, plan)
    except BaseException as error:  # noqa: BLE001 - nothing may pass into C
        return _refuse(ffi, request, plan, error)
    return wire.POLICY_DONE


def close_job(ffi: FFI, value: Struct) -> int:
    """Answer root's question: remove the containers of its items, and say which of them may still be there."""
    return _answer(ffi, value, _close)


def sweep_node(ffi: FFI, value: Struct) -> int:
    """Answer root's question which items' jobs live, and remove what has no item where that was asked for."""
    return _answer(ffi, value, _sweep)


def save_container(ffi: FFI, value: Struct) -> int:
    """Answer root's question: save a container as an image, or say why not."""
    try:
        from socker import wire  # noqa: PLC0415

        if not wire.is_whole(ffi, value, wire.SAVE_MAGIC):
            return FAILED
        from socker.saving import Saved  # noqa: PLC0415

        try:
            saved = _save(ffi, value)
        except BaseException as error:  # noqa: BLE001 - nothing may pass into C
            saved = Saved(message=_report("save", error))
        wire.write_saved(ffi, value, saved)
    except BaseException:  # noqa: BLE001 - nothing may pass into C
        return FAILED
    return wire.POLICY_DONE


def _save(ffi: FFI, value: Struct) -> Saved:
    import time  # noqa: PLC0415

    from socker import wire  # noqa: PLC0415
    from socker.audit import SyslogAudit  # noqa: PLC0415
    from socker.engine_http import HttpApi  # noqa: PLC0415
    from socker.engine_save import SavingEngine  # noqa: PLC0415
    from socker.errors import InvalidRequest  # noqa: PLC0415
    from socker.saving import Saved, save_container  # noqa: PLC0415

    try:
        saving, docker = wire.read_saving(ffi, value), wire.read_docker(ffi, value)
    except InvalidRequest as error:
        return Saved(message=str(error))
    until, last = _times(value.deadline_ms)
    engine = SavingEngine(HttpApi(docker), time, until, last - until)
    return save_container(saving, engine, SyslogAudit(), time)


def _answer(ffi: FFI, value: Struct, find: Callable[[FFI, Struct], Closed]) -> int:
    try:
        from socker import wire  # noqa: PLC0415

        if not wire.is_whole(ffi, value, wire.CLOSE_MAGIC) or value.count > len(value.items):
            return FAILED
        wire.write_closed(ffi, value, _keep_all(value.count, ""))
        try:
            wire.write_closed(ffi, value, _found_or_kept(ffi, value, find))
        except BaseException as error:  # noqa: BLE001 - nothing may pass into C
            wire.write_closed(ffi, value, _keep_all(value.count, _report("close", error)))
    except BaseException:  # noqa: BLE001 - nothing may pass into C
        return FAILED
    return wire.POLICY_DONE


def _fill_open(ffi: FFI, request: Struct, plan: Struct) -> None:
    from socker import wire  # noqa: PLC0415
    from socker.errors import SockerError  # noqa: PLC0415
    from socker.lifecycle import Plain, Refusal  # noqa: PLC0415

    try:
        wanted = wire.read_request(ffi, request)
    except SockerError as error:
        wire.write_refusal(ffi, request, plan, str(error))
        return
    answer, engine = _open(wanted)
    if isinstance(answer, Plain):
        wire.write_plain(ffi, request, plan)
        return
    if isinstance(answer, Refusal):
        wire.write_refusal(ffi, request, plan, answer.message)
        plan.flags = (wire.PLAN_LEFT if engine.left else 0) | (wire.PLAN_SILENT if answer.silent else 0)
        return
    try:
        wire.write_grant(ffi, request, plan, answer)
    except BaseException:
        engine.remove(answer.started.id, wanted.mark())
        raise


def _open(request: Request) -> tuple[Opened | Plain | Refusal, DockerEngine]:
    import time  # noqa: PLC0415

    from socker.audit import SyslogAudit  # noqa: PLC0415
    from socker.engine_http import HttpApi  # noqa: PLC0415
    from socker.identity import NodeAccounts  # noqa: PLC0415
    from socker.lifecycle import Outside, open_step  # noqa: PLC0415
    from socker.policyfile import load, read_profile  # noqa: PLC0415

    engine = _engine(HttpApi(request.docker), request.deadline_ms)
    until = time.monotonic() + min(FACTS_SECONDS, request.deadline_ms / 1000 / 2)
    outside = Outside(
        engine=engine,
        accounts=NodeAccounts(),
        audit=SyslogAudit(),
        clock=time,
        load_policy=load,
        job_facts=lambda job: _facts(job, request.slurm_conf, until),
        job_gpus=lambda job, node: _gpus(job, node, request.slurm_conf, until),
        load_cdi=_cdi,
        load_catalogue=_catalogue,
        load_module=_module,
        read_profile=read_profile,
    )
    return open_step(request, outside), engine


def _facts(job: int, slurm_conf: str, until: float) -> Facts:
    from socker.slurm import SlurmCommands, job_facts  # noqa: PLC0415 - only where a rule needs them

    commands = SlurmCommands(slurm_conf, until)
    return job_facts(commands, slurm_conf)(job)


def _cdi() -> dict[str, CdiDevice]:
    from socker.cdifiles import load_devices  # noqa: PLC0415 - only where a step wants them

    return load_devices()


def _gpus(job: int, node: str, slurm_conf: str, until: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    from socker.slurm import SlurmCommands  # noqa: PLC0415 - only where a step wants them

    return SlurmCommands(slurm_conf, until).gpus(job, node)


def _catalogue(path: str) -> Catalogue:
    from socker.catalogue import load  # noqa: PLC0415 - only where a rule needs it

    return load(path)


def _module(path: str) -> Decide:
    from socker.sitepolicy import load_module  # noqa: PLC0415 - only where there is one

    return load_module(path)


def _engine(api: DockerApi, deadline_ms: int) -> DockerEngine:
    """Return an engine that leaves time for cleaning up, and for the refusal to arrive before the child is killed."""
    import time  # noqa: PLC0415

    from socker.engine import DockerEngine  # noqa: PLC0415

    until, last = _times(deadline_ms)
    return DockerEngine(api, time, until, last - until)


def _times(deadline_ms: int) -> tuple[float, float]:
    """Return until when an engine may work, and until when it may clean up."""
    import time  # noqa: PLC0415

    whole = deadline_ms / 1000 * 0.95
    grace = min(5.0, whole / 4)
    return time.monotonic() + whole - grace, time.monotonic() + whole


def _found_or_kept(ffi: FFI, value: Struct, find: Callable[[FFI, Struct], Closed]) -> Closed:
    from socker.errors import SockerError  # noqa: PLC0415

    try:
        return find(ffi, value)
    except SockerError as error:
        return _keep_all(value.count, str(error))


def _close(ffi: FFI, value: Struct) -> Closed:
    from socker import wire  # noqa: PLC0415
    from socker.engine_http import HttpApi  # noqa: PLC0415
    from socker.errors import InvalidRequest  # noqa: PLC0415
    from socker.lifecycle import close_items  # noqa: PLC0415

    if value.sweep:
        raise InvalidRequest("a sweep is asked for by another name")
    docker, _ = wire.read_paths(ffi, value)
    return close_items(wire.read_closing(ffi, value), _engine(HttpApi(docker), value.deadline_ms))


def _sweep(ffi: FFI, value: Struct) -> Closed:
    import time  # noqa: PLC0415

    from socker import wire  # noqa: PLC0415
    from socker.audit import SyslogAudit  # noqa: PLC0415
    from socker.errors import InvalidRequest  # noqa: PLC0415
    from socker.lifecycle import judge_items, sweep  # noqa: PLC0415
    from socker.slurm import SlurmCommands  # noqa: PLC0415

    closing = wire.read_closing(ffi, value)
    docker, slurm_conf = wire.read_paths(ffi, value)
    jobs = SlurmCommands(slurm_conf, time.monotonic() + value.deadline_ms / 1000 / 2)
    if value.sweep == wire.SWEEP_RECORDED:
        return judge_items(closing, jobs)
    if value.sweep != wire.SWEEP_ALL:
        raise InvalidRequest("there is no sweep of that kind")
    from socker.engine_save import SavingEngine  # noqa: PLC0415
    from socker.engine_sdk import SdkApi  # noqa: PLC0415 - 75 ms, and nothing waits for a sweep

    until, last = _times(value.deadline_ms)
    engine = SavingEngine(SdkApi(docker), time, until, last - until)
    return sweep(closing, engine, jobs, SyslogAudit(), engine)


def _keep_all(count: int, message: str) -> Closed:
    from socker.lifecycle import Closed  # noqa: PLC0415

    return Closed(kept=(True,) * count, message=message)


def _refuse(ffi: FFI, request: Struct, plan: Struct, error: BaseException) -> int:
    try:
        from socker import wire  # noqa: PLC0415

        wire.write_refusal(ffi, request, plan, _report("open", error))
    except BaseException:  # noqa: BLE001 - nothing may pass into C
        return FAILED
    return wire.POLICY_DONE


def _report(event: str, error: BaseException) -> str:
    """Put the traceback into the node's log and return the line for the user, which has nothing of it."""
    kind = type(error).__name__
    try:
        from traceback import format_exception  # noqa: PLC0415

        from socker.audit import SyslogAudit  # noqa: PLC0415

        SyslogAudit().record(
            "internal error", {"in": event, "kind": kind, "traceback": "".join(format_exception(error))}
        )
    except BaseException:  # noqa: BLE001 - the refusal matters more than its log line
        return f"internal error in the policy engine ({kind}); tell your administrator"
    return f"internal error in the policy engine ({kind}); the node's log has the details"
