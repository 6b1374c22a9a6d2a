"""What a run's last bits depend on besides its seed and its data: processor, its capability, threads, libraries."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

LIBRARIES = ("multimix", "torch", "lightning-fabric", "numpy", "kornia", "pillow")
"""Distributions whose versions are kept, since each may round otherwise in another one."""


def machine(device: torch.device) -> dict[str, str | int]:
    """What RUN/run.json keeps of where it is computed, as it is now; plain values ready for JSON."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def processor() -> str:
    """The processor's model as the system names it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next((name for name in named if name), platform.processor() or platform.machine())


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two run.json, as 'threads 2, now 1'; a field that an older run lacks is not known to."""
    found: list[str] = []
    for part, names in (("machine", tuple(now["machine"])), ("versions", LIBRARIES)):
        known = before.get(part)
        if not isinstance(known, Mapping):
            continue
        other = [name for name in names if name in known and known[name] != now[part][name]]
        found += [f"{name} {known[name]}, now {now[part][name]}" for name in other]
    return found
