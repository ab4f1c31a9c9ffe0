"""The NVML binding without a driver: what it answers, in the units of the library."""

from __future__ import annotations

from types import SimpleNamespace


class FakeNvml:
    """Two GPUs; counters in mJ, powers in mW, as the library gives them."""

    NVMLError = type("NVMLError", (Exception,), {})
    NVML_SUCCESS = 0
    NVML_FI_DEV_POWER_INSTANT = 186
    NVML_FI_DEV_POWER_AVERAGE = 185

    def __init__(self, busy=(), mig=(), driver=True, counter=True):
        self.busy, self.mig, self.driver, self.counter = busy, mig, driver, counter
        self.energy_mj = [5_000, 9_000]

    def nvmlInit(self):
        if not self.driver:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return int(uuid[-1])

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-{handle}"

    def nvmlDeviceGetName(self, handle):
        return b"NVIDIA H100 80GB HBM3"

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [SimpleNamespace(pid=42)] if handle in self.busy else []

    def nvmlDeviceGetMigMode(self, handle):
        if handle not in self.mig:
            raise self.NVMLError("Not Supported")
        return [1, 1]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if not self.counter:
            raise self.NVMLError("Not Supported")
        return self.energy_mj[handle]

    def nvmlDeviceGetFieldValues(self, handle, fields):
        watts = {(186, 0): 300_000, (185, 0): 290_000, (186, 1): 520_000, (185, 1): 510_000}
        return [SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=watts[field])) for field in fields]
