# SPDX-License-Identifier: Apache-2.0
"""Devices in a plan: those that were asked for and that the rule, and for GPUs Slurm, gives. Pure."""

from __future__ import annotations

from socker.cdi import CdiDevice, is_cdi, of_file
from socker.environment import is_encodable, is_protected
from socker.errors import PlanError, SlurmError
from socker.model import Mount
from socker.text import quoted
from socker.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from socker.grants import Grants
    from socker.options import Options
    from socker.policy import Allow


class Hardware(Value):
    """
    What a node has for a step. `gpus` are the device files of the GPUs that Slurm gave the job, `others` of those that
    it did not; `cdi` are the node's CDI devices by their names.
    """

    gpus: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    cdi: Mapping[str, CdiDevice] = {}


NO_HARDWARE = Hardware()


def find_hardware(
    allow: Allow,
    wish: Options,
    load_cdi: Callable[[], Mapping[str, CdiDevice]],
    job_gpus: Callable[[], tuple[tuple[str, ...], tuple[str, ...]]],
) -> Hardware:
    """Return what a step's wish needs to be known; nothing else is looked up. Raises CdiError, SlurmError."""
    gpus = wish.gpus and allow.grants.gpus
    cdi = load_cdi() if any(map(is_cdi, wish.devices)) or (gpus and allow.grants.gpu_kind) else {}
    if not gpus:
        return Hardware(cdi=cdi)
    try:
        own, others = job_gpus()
    except SlurmError as error:
        raise SlurmError(f"--container-gpus: it is not known which GPUs Slurm gave this job: {error}") from None
    return Hardware(gpus=own, others=others, cdi=cdi)


def devices(allow: Allow, wish: Options, hardware: Hardware) -> tuple[tuple[Mount, ...], tuple[str, ...]]:
    """
    Return the mounts and the variables of what was asked for and Docker does not put there.

    Raises PlanError for what the rule does not give, CdiError for what the node does not have.
    """
    given = allow.grants
    for device in wish.devices:
        if not _is_given(device, given):
            raise not_given(allow, "--container-device", f"it names no device {quoted(device)}")
    chosen = [*_gpus(allow, hardware)] if wish.gpus and _check_gpus(allow, hardware) else []
    chosen += [_named(name, hardware) for name in wish.devices]
    nodes = dict.fromkeys(node for device in chosen for node in device.nodes if node[1] not in given.devices)
    mounts = dict.fromkeys(mount for device in chosen for mount in device.mounts)
    return (
        (
            *(Mount(source=host, target=path, read_only=False, kind="device", asked=True) for host, path in nodes),
            *(Mount(source=host, target=path, read_only=ro, asked=True) for host, path, ro in mounts),
        ),
        tuple(variable for device in chosen for variable in device.env if _is_free(variable)),
    )


def not_given(allow: Allow, option: str, why: str) -> PlanError:
    """Return the refusal of an option by a rule that allows the rest."""
    return PlanError(f"{option} is denied by rule {quoted(allow.rule)}: {why}")


def _is_given(device: str, given: Grants) -> bool:
    return (
        device in given.devices or device in given.ask_devices or f"{device.partition('=')[0]}=*" in given.ask_devices
    )


def _check_gpus(allow: Allow, hardware: Hardware) -> bool:
    if not allow.grants.gpus:
        raise not_given(allow, "--container-gpus", "it does not let users have GPUs in a container")
    if not hardware.gpus:
        raise PlanError("--container-gpus: Slurm gave this job no GPU on this node; ask for one, as with --gpus=1")
    return True


def _gpus(allow: Allow, hardware: Hardware) -> tuple[CdiDevice, ...]:
    kind = allow.grants.gpu_kind
    if kind:
        return tuple(of_file(hardware.cdi, kind, file, hardware.others) for file in hardware.gpus)
    return tuple(CdiDevice(name=file, nodes=((file, file),)) for file in hardware.gpus)


def _named(name: str, hardware: Hardware) -> CdiDevice:
    if not is_cdi(name):
        return CdiDevice(name=name, nodes=((name, name),))
    if name not in hardware.cdi:
        raise PlanError(f"--container-device: this node has no device {quoted(name)}")
    return hardware.cdi[name]


def _is_free(variable: str) -> bool:
    return not is_protected(variable.partition("=")[0]) and is_encodable(variable)
