"""How time is taken, and how fast a device is at best."""

import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import date
from importlib import metadata
from pathlib import Path

import torch

REPEATS = 5


def synchronised(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def typical_seconds(work: Callable[[], object], device: torch.device, budget: float = 2.0) -> float:
    """The median time of `work`, each with the device idle before and after it."""
    work()
    times: list[float] = []
    end = time.perf_counter() + budget
    while len(times) < REPEATS or time.perf_counter() < end:
        synchronised(device)
        start = time.perf_counter()
        work()
        synchronised(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def best_seconds(work: Callable[[], object], device: torch.device) -> float:
    """The shortest of a few times: other work on the machine must not make a device look slower than it is."""
    work()
    times = []
    for _ in range(4 * REPEATS):
        synchronised(device)
        start = time.perf_counter()
        work()
        synchronised(device)
        times.append(time.perf_counter() - start)
    return min(times)


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of a large matrix product."""
    side = 8192 if device.type == "cuda" else 1024
    one, other = torch.randn(2, side, side, device=device).to(dtype)
    return float(f"{2 * side**3 / best_seconds(lambda: one @ other, device):.3g}")


def copy_rate(device: torch.device) -> float:
    """Bytes per second, read and written, of a copy that no cache holds."""
    source = torch.ones(2**28 if device.type == "cuda" else 2**26, device=device)
    target = torch.empty_like(source)
    moved = 2 * source.numel() * source.element_size()
    return float(f"{moved / best_seconds(lambda: target.copy_(source), device):.3g}")


def versions(device: torch.device) -> dict[str, object]:
    """What figures must be read beside: the card or processor, the libraries, the date."""
    libraries: dict[str, object] = {"python": platform.python_version(), "torch": torch.__version__}
    found: dict[str, object] = {"device": processor(), "cores": os.cpu_count(), **libraries}
    if device.type == "cuda":
        memory = round(torch.cuda.get_device_properties(device).total_memory / 2**30)
        card = {"device": torch.cuda.get_device_name(device), "processor": found["device"], "device_gibibytes": memory}
        driver = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "driver": driver_version()}
        found |= {**card, **driver, "triton": version_of("triton")}
    return {**found, "date": date.today().isoformat()}


def version_of(package: str) -> str | None:
    """Of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def driver_version() -> str | None:
    """Of the GPU's driver, where it can be asked for."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split("\n")[0].strip()
    except (OSError, subprocess.SubprocessError):
        return None


def processor() -> str:
    """The processor's name, where the system tells it."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else None
    return re.sub(r"\((R|TM)\)", "", found[1]) if found else "unknown processor"
