"""Machines as file trees: what the kernel shows, under a folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """`make_tree({path: text})`: a root folder of its own with these files."""
    numbers = itertools.count()

    def make(files: Mapping[str, str]) -> Path:
        root = tmp_path / f"root{next(numbers)}"
        root.mkdir()
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        return root

    return make


CPU = "sys/devices/system/cpu"
ORIN = {  # a Jetson Orin NX, JetPack 6
    "proc/loadavg": "0.52 0.41 0.30 1/402 9021",
    "proc/device-tree/model": "NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic",
    f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "729600",
    f"{CPU}/cpu1/cpufreq/scaling_cur_freq": "1984000",
    f"{CPU}/cpu0/cpufreq/scaling_governor": "schedutil",
    "sys/class/devfreq/17000000.gpu/cur_freq": "918000000",
    "sys/class/devfreq/13e40000.host1x/cur_freq": "204000000",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
    "sys/class/thermal/thermal_zone0/temp": "51281",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal",
    "sys/class/thermal/thermal_zone1/temp": "49875",
    "sys/class/thermal/thermal_zone2/type": "cv0-thermal",  # switched off: cannot be read
    "sys/class/thermal/thermal_zone3/type": "iwlwifi",
    "sys/class/thermal/thermal_zone3/temp": "-256000",
    "sys/class/hwmon/hwmon0/name": "pwmfan",
    "sys/class/hwmon/hwmon1/name": "ina3221",
    "sys/class/hwmon/hwmon1/in1_label": "VDD_IN",
    "sys/class/hwmon/hwmon1/in1_input": "5000",
    "sys/class/hwmon/hwmon1/curr1_input": "2400",
    "sys/class/hwmon/hwmon1/in2_label": "VDD_CPU_GPU_CV",
    "sys/class/hwmon/hwmon1/in2_input": "5000",
    "sys/class/hwmon/hwmon1/curr2_input": "1100",
    "sys/class/hwmon/hwmon1/in3_label": "VDD_SOC",
    "sys/class/hwmon/hwmon1/in3_input": "4992",
    "sys/class/hwmon/hwmon1/curr3_input": "500",
    "sys/class/hwmon/hwmon1/in7_label": "sum of shunt voltages",
}
NANO = {  # a Jetson Nano, JetPack 4
    "etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input": "4123",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_0": "POM_5V_IN",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power1_input": "1210",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_1": "POM_5V_GPU",
    "sys/class/devfreq/57000000.gpu/cur_freq": "921600000",
}
DESKTOP = {  # an Intel desktop
    "proc/loadavg": "1.25 0.80 0.50 2/900 4242",
    f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "800000",
    f"{CPU}/cpu1/cpufreq/scaling_cur_freq": "4699000",
    f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "3",
    f"{CPU}/cpu1/thermal_throttle/core_throttle_count": "4",
    "sys/class/hwmon/hwmon2/name": "coretemp",
    "sys/class/hwmon/hwmon2/temp1_label": "Package id 0",
    "sys/class/hwmon/hwmon2/temp1_input": "62000",
    "sys/class/hwmon/hwmon3/name": "nvme",
    "sys/class/hwmon/hwmon3/temp1_input": "40850",
    "sys/class/powercap/intel-rapl:0/name": "package-0",
    "sys/class/powercap/intel-rapl:0/energy_uj": "1000000",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "262143328850",
    "sys/class/powercap/intel-rapl:0:0/name": "core",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": "400000",
    "sys/class/powercap/intel-rapl:1/name": "psys",
    "sys/class/powercap/intel-rapl:1/energy_uj": "9000000",
}


@pytest.fixture
def jetson(make_tree: Callable[[Mapping[str, str]], Path]) -> Path:
    return make_tree(ORIN)


@pytest.fixture
def old_jetson(make_tree: Callable[[Mapping[str, str]], Path]) -> Path:
    return make_tree(NANO)


@pytest.fixture
def desktop(make_tree: Callable[[Mapping[str, str]], Path]) -> Path:
    return make_tree(DESKTOP)
