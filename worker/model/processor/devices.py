"""The device and the number format that a machine offers. torch is loaded only where a GPU may be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from worker.errors import BadModel
from worker.model.processor.cpu_features import multiplies_bf16_faster

if TYPE_CHECKING:
    from worker.model.backends.choice import Device as FoundDevice
    from worker.model.backends.choice import Format

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16", "float16", "int16", "int8"]
# One of these exists where the driver of a GPU is loaded: the second under Windows.
_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


def find_device(device: Device) -> FoundDevice:
    """Return the device; `auto` is a GPU if there is one. Raises `BadModel` where there is no GPU as asked."""
    if device == "cpu" or (device == "auto" and not any(driver.exists() for driver in _DRIVERS)):
        return "cpu"
    if _has_cuda():
        return "cuda"
    if device == "cuda":
        raise BadModel("there is no CUDA device here, or PyTorch is not installed: choose the device cpu or auto")
    return "cpu"


def choose_format(dtype: Dtype, device: FoundDevice) -> Format:
    """Return the number format; `auto` is bfloat16 where that is faster in PyTorch (a GPU, or a CPU with AMX), else float32."""
    if dtype != "auto":
        return dtype
    if device == "cuda":
        import torch  # noqa: PLC0415  loaded already

        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    return "bfloat16" if multiplies_bf16_faster() else "float32"


def _has_cuda() -> bool:
    try:
        import torch  # noqa: PLC0415  heavy
    except ModuleNotFoundError:
        return False
    return torch.cuda.is_available()
