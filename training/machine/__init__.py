"""The machine under a run: its device and cores, its signals, the other processes."""

from amcl_serve.machine import cores
from training.machine.resources import device, keep_memory, resolve
from training.machine.signals import Stop, stop_on_signals

__all__ = ["Stop", "cores", "device", "keep_memory", "resolve", "stop_on_signals"]
