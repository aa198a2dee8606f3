"""Vendors' libraries whose energy counter does as it is told, for the child process of a gauge.

FAKE_COUNTER is what reading k gives, in joules, apart by commas; the last one stays. Words misbehave instead: "hang",
"unsupported", "n/a" (AMD's word for what it does not know), "text", "crash".
"""

NVML = """
import itertools, os, time
COUNTER = os.environ["FAKE_COUNTER"].split(",")
STEPS = itertools.chain(COUNTER, itertools.repeat(COUNTER[-1]))
NVML_CLOCK_SM = 1

class NVMLError(Exception):
    pass

def nvmlInit():
    if os.environ.get("FAKE_DRIVER") == "absent":
        raise NVMLError("NVML Shared Library Not Found")

def nvmlDeviceGetCount():
    return 1

def nvmlDeviceGetHandleByIndex(index):
    return index

def nvmlDeviceGetClockInfo(handle, kind):
    return 1980

def nvmlDeviceGetCurrentClocksThrottleReasons(handle):
    return 0

def nvmlDeviceGetTotalEnergyConsumption(handle):
    step = next(STEPS)
    if step == "hang":
        time.sleep(600)
    if step == "crash":
        os.abort()
    if step == "unsupported":
        raise NVMLError("Not Supported")
    return step if step == "text" else int(float(step) * 1e3)
"""

AMD_SMI = """
import itertools, os, time
COUNTER = os.environ["FAKE_COUNTER"].split(",")
STEPS = itertools.chain(COUNTER, itertools.repeat(COUNTER[-1]))

class AmdSmiException(Exception):
    pass

class AmdSmiClkType:
    GFX = 0

def amdsmi_init():
    if os.environ.get("FAKE_DRIVER") == "absent":
        raise AmdSmiException("AMDSMI_STATUS_DRIVER_NOT_LOADED")

def amdsmi_get_processor_handles():
    return [0]

def amdsmi_get_clock_info(handle, kind):
    return {"clk": 2100}

def amdsmi_get_energy_count(handle):
    step = next(STEPS)
    if step == "hang":
        time.sleep(600)
    if step == "crash":
        os.abort()
    if step == "unsupported":
        raise AmdSmiException("AMDSMI_STATUS_NOT_SUPPORTED")
    if step == "n/a":
        return {"energy_accumulator": "N/A", "counter_resolution": 15.3}
    if step == "text":
        return "no table"
    return {"energy_accumulator": round(float(step) * 1e6 / 15.3), "counter_resolution": 15.3}
"""
