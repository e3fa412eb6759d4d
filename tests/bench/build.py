"""Where things are, how programs are compiled, and on what machine: what all benchmarks share."""

import os
import platform
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
CC = os.environ.get("CC", "cc")
INCLUDE = f"-I{TOP / 'pmi-adapter' / 'include'}"


class Setting:
    """Where things are."""

    def __init__(self, target, venvs):
        self.release = target / "release"
        self.programs = target / "bench"
        self.pmi_ssh = str(self.release / "pmi-ssh")
        self.library = self.release / "libpmi.so"
        self.mpich = venvs / "mpich"
        self.intel = venvs / "impi"

    def program(self, name):
        """Path of a compiled benchmark program."""
        return str(self.programs / name)


def compile_c(compiler, program, sources, options=()):
    """Compiles one program with optimisation; symbols are bound at its start, not in the measurement."""
    paths = [str(HERE / source) for source in sources]
    subprocess.run([compiler, "-O2", "-Wall", "-Wl,-z,now", "-o", program, *paths, *options], check=True)


def link_library(setting, name):
    """Gives our library the file name by which programs ask for it; returns the directory."""
    libraries = setting.programs / "lib"
    libraries.mkdir(parents=True, exist_ok=True)
    link = libraries / f"{name}.so.0"
    link.unlink(missing_ok=True)
    link.symlink_to(setting.release / f"{name}.so")
    return libraries


def machine():
    """What the numbers were taken on."""
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return {
        "cores": os.cpu_count(),
        "cpu": cpu,
        "kernel": platform.release(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "load_before": os.getloadavg()[0],
    }
