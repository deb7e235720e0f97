# SPDX-License-Identifier: Apache-2.0
"""The environment that an image gives to tasks. Pure."""

from __future__ import annotations

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # Docker's, for images without one

# Slurm's and PMI's own, never an image's.
PROTECTED_PREFIXES = ("SLURM", "_SLURM", "SPANK", "_SPANK", "SRUN_", "SBATCH_", "SALLOC_", "PMI")
# The user's, from the node's accounts, and the job's devices.
PROTECTED_NAMES = frozenset(
    {
        *("HOME", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "TMPDIR"),
        *("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
        *("GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK"),
    }
)


def image_environment(entries: tuple[str, ...]) -> tuple[str, ...]:
    """Return what an image may set: well-formed, not protected, the last of equal names, and always a PATH."""
    kept: dict[str, str] = {}
    for entry in entries:
        name, equals, _ = entry.partition("=")
        if equals and is_name(name) and not is_protected(name) and is_encodable(entry):
            kept.pop(name, None)
            kept[name] = entry
    kept.setdefault("PATH", DEFAULT_PATH)
    return tuple(kept.values())


def is_name(name: str) -> bool:
    """Tell whether a variable can have this name."""
    return name != "" and all("!" <= char <= "~" for char in name)


def is_protected(name: str) -> bool:
    """Tell whether a variable is Slurm's or the user's, which neither an image nor policy sets."""
    return name in PROTECTED_NAMES or name.startswith(PROTECTED_PREFIXES)


def is_encodable(text: str) -> bool:
    """Tell whether a text can be on the wire."""
    if "\0" in text:
        return False
    try:
        encode(text)
    except UnicodeEncodeError:
        return False
    return True


def encode(text: str) -> bytes:
    """Return the text as bytes for the wire; bytes of the host that are not UTF-8 come out as they were."""
    return text.encode(errors="surrogateescape")
