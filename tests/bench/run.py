"""Runs the benchmark programs under every process manager, interleaved, and writes the report.

Called by scripts/bench, which builds and installs what this needs.
"""

import argparse
import json
import sys
from pathlib import Path

import report
from build import CC, INCLUDE, Setting, compile_c, link_library, machine
from measure import Launcher, Series, floor, interleaved

PARTS = ["exchange", "wire", "start", "memory", "init"]
# What is measured unless --only says otherwise: the part "wire" is in "exchange" too.
DEFAULT_PARTS = ["exchange", "start", "memory", "init"]
RANKS = [2, 4, 16, 64, 256]
QUICK_RANKS = [2, 64]
WIRE_RANKS = [64]
START_RANKS = [1, 16, 256]
INIT_RANKS = [16]
# Memory is read with about 4 MB in the log at either size: (ranks, 1,000-byte values of each rank).
MEMORY_RUNS = [(64, 64), (256, 16)]


def compile_programs(setting):
    """Compiles every benchmark program."""
    libraries = link_library(setting, "libpmi")
    compile_c(CC, setting.program("exchange_libpmi"), ["exchange.c", "exchange_libpmi.c"],
              [INCLUDE, str(setting.library), f"-Wl,-rpath,{libraries}"])
    compile_c(CC, setting.program("exchange_wire"), ["exchange.c", "exchange_wire.c", "server_cpu.c"])
    compile_c(CC, setting.program("futex_floor"), ["futex_floor.c"])
    compile_c(CC, setting.program("epoll_floor"), ["epoll_floor.c", "server_cpu.c"])
    compile_c(str(setting.mpich / "bin" / "mpicc"), setting.program("mpi_init"), ["mpi_init.c"])


def over_the_library(setting):
    """Ours, whose ranks share a board through libpmi.so."""
    return Launcher(report.OURS, [setting.pmi_ssh], setting.program("exchange_libpmi"))


def over_the_wire(setting):
    """The same wire client under everybody's process manager, ours first."""
    wire = setting.program("exchange_wire")
    return [
        Launcher(report.OURS_WIRE, [setting.pmi_ssh], wire),
        Launcher("hydra 4.0.2", ["/usr/bin/mpiexec.hydra"], wire),
        Launcher("hydra 5.0.2", [str(setting.mpich / "bin" / "mpiexec.hydra")], wire),
        Launcher("gforker 5.0.2", [str(setting.mpich / "bin" / "mpiexec.gforker")], wire),
    ]


def floors(setting):
    """What no process manager can be faster than."""
    epoll = setting.program("epoll_floor")
    return [
        (report.FUTEX_FLOOR, floor(setting.program("futex_floor"))),
        (report.EPOLL_FLOOR, floor(epoll)),
        (report.EPOLL_FLOOR + ", server batch", floor(epoll, "--batch")),
        (report.EPOLL_FLOOR + ", all batch", floor(epoll, "--batch-all")),
    ]


def measure_exchange(setting, arguments):
    """Exchange, get and barrier: our library, and the wire protocol under everybody."""
    launchers = [over_the_library(setting), *over_the_wire(setting)]
    sources = [(each.name, each.exchange) for each in launchers]
    return interleaved(arguments.reps, arguments.ranks, [*sources, *floors(setting)])


def measure_wire(setting, arguments):
    """The same without our library."""
    sources = [(each.name, each.exchange) for each in over_the_wire(setting)]
    return interleaved(arguments.reps, arguments.wire_ranks, [*sources, *floors(setting)])


def measure_start(setting, arguments):
    """Jobs that do nothing."""
    launchers = [each for each in over_the_wire(setting) if each.name != report.OURS_WIRE]
    sources = [(each.name, each.start) for each in [over_the_library(setting), *launchers]]
    return interleaved(arguments.reps, [n for n in START_RANKS if n <= max(arguments.ranks)], sources)


def measure_memory(setting, arguments):
    """What our ranks hold in memory with about 4 MB in the log."""
    series = []
    for count, values in MEMORY_RUNS:
        if count in arguments.ranks:
            print(f"memory at {count} ranks", file=sys.stderr)
            ours = over_the_library(setting)
            series.append(Series(ours.name, count))
            series[-1].take(lambda ranks, values=values: ours.exchange(ranks, str(values)))
    return series


def measure_init(setting, arguments):
    """MPI_Init of two MPI libraries, each under ours and under its own Hydra.

    Intel MPI has the binary interface of MPICH 5, so its libraries run the same program. Its waiting ranks block,
    because there may be fewer cores than ranks; its Hydra tells them so, others do not.
    """
    program = setting.program("mpi_init")
    ours, wire = [setting.pmi_ssh], [setting.pmi_ssh, "-no-pmi-library"]
    intel = {"LD_LIBRARY_PATH": str(setting.intel / "lib"), "I_MPI_WAIT_MODE": "1"}
    launchers = [
        Launcher("MPICH 5.0.2 under pmi-ssh", wire, program),
        Launcher("MPICH 5.0.2 under hydra 5.0.2", [str(setting.mpich / "bin" / "mpiexec.hydra")], program),
        Launcher("Intel MPI under pmi-ssh, wire", wire, program, intel),
        Launcher("Intel MPI under pmi-ssh, libpmi.so", ours, program, intel),
        Launcher("Intel MPI under its own hydra", [str(setting.intel / "bin" / "mpiexec.hydra")], program, intel),
    ]
    return interleaved(arguments.reps, INIT_RANKS, [(each.name, each.init) for each in launchers])


MEASURES = {
    "exchange": measure_exchange,
    "wire": measure_wire,
    "start": measure_start,
    "memory": measure_memory,
    "init": measure_init,
}


def parts(text):
    """The value of --only."""
    chosen = text.split(",")
    wrong = [part for part in chosen if part not in PARTS]
    if wrong:
        raise argparse.ArgumentTypeError(f"there is no part '{wrong[0]}'; there are {', '.join(PARTS)}")
    return chosen


def parse_arguments():
    """Reads the command line; see scripts/bench --help."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--venvs", type=Path, required=True)
    parser.add_argument("--reps", type=int)
    parser.add_argument("--ranks", type=lambda text: [int(number) for number in text.split(",")])
    parser.add_argument("--only", type=parts, default=DEFAULT_PARTS)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    arguments.reps = arguments.reps or (2 if arguments.quick else 5)
    arguments.wire_ranks = arguments.ranks or WIRE_RANKS
    arguments.ranks = arguments.ranks or (QUICK_RANKS if arguments.quick else RANKS)
    return arguments


def main():
    """Measures everything and writes both reports."""
    arguments = parse_arguments()
    setting = Setting(arguments.target.resolve(), arguments.venvs)
    result = {"machine": machine(), "repetitions": arguments.reps}
    compile_programs(setting)
    for part in arguments.only:
        result[part] = [series.as_json() for series in MEASURES[part](setting, arguments)]
    result["ratios"] = report.ratios(result)
    (setting.programs / "report.json").write_text(json.dumps(result, indent=1) + "\n")
    (setting.programs / "report.md").write_text(report.markdown(result))
    print(report.markdown(result))
    print(f"Written to {setting.programs / 'report.md'} and {setting.programs / 'report.json'}")


if __name__ == "__main__":
    main()
