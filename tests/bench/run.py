"""Runs the benchmark programs under every process manager, interleaved, and writes the report.

Called by scripts/bench, which builds and installs what this needs.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import report

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
RANKS = [2, 4, 16, 64, 256]
START_RANKS = [1, 16, 256]
# Memory is read with about 4 MB in the log at either size: (ranks, 1,000-byte values of each rank).
MEMORY_RUNS = [(64, 64), (256, 16)]
TIMEOUT_SECONDS = 120


class Launcher:
    """A process manager, and the benchmark program that speaks its dialect."""

    def __init__(self, name, command, program):
        self.name = name
        self.command = command
        self.program = program

    def run(self, ranks, *program):
        """Runs a program on so many ranks; returns (seconds, stdout), or raises RuntimeError."""
        started = time.perf_counter()
        try:
            done = subprocess.run(
                [*self.command, "-n", str(ranks), *program],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                timeout=TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"did not end within {TIMEOUT_SECONDS} s") from None
        seconds = time.perf_counter() - started
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"exit code {done.returncode}: {last[:200]}")
        return seconds, done.stdout

    def exchange(self, ranks, *arguments):
        """One run of the exchange program: what its rank 0 reports."""
        _, output = self.run(ranks, self.program, *arguments)
        lines = [line for line in output.splitlines() if line.startswith("{")]
        if len(lines) != 1:
            raise RuntimeError(f"printed no result: {output[:200]!r}")
        return json.loads(lines[0])

    def start(self, ranks):
        """One job that does nothing: its time in nanoseconds."""
        seconds, _ = self.run(ranks, "/bin/true")
        return {"start_ns": seconds * 1e9}


class Series:
    """The repetitions of one measurement: numbers by name, and the failures."""

    def __init__(self, launcher, ranks):
        self.launcher = launcher
        self.ranks = ranks
        self.samples = []
        self.failures = []

    def take(self, measure, *arguments):
        """Takes one more sample; a failure is noted, not hidden."""
        try:
            self.samples.append(measure(self.ranks, *arguments))
        except RuntimeError as failure:
            self.failures.append(str(failure))
            print(f"  {self.launcher}, {self.ranks} ranks: {failure}", file=sys.stderr)

    def medians(self):
        """Median of each number, or nothing when every repetition failed."""
        names = self.samples[0].keys() if self.samples else []
        return {name: statistics.median(sample[name] for sample in self.samples) for name in names}

    def as_json(self):
        """What the JSON report holds of it."""
        return {
            "launcher": self.launcher,
            "ranks": self.ranks,
            "median": self.medians(),
            "samples": self.samples,
            "failures": self.failures,
        }


def interleaved(repetitions, ranks, sources):
    """Measures every source once, then all again: drift of the machine hits all alike.

    `sources` are pairs (name, function of the number of ranks).
    """
    series = {(name, count): Series(name, count) for count in ranks for name, _ in sources}
    for count in ranks:
        for repetition in range(repetitions):
            print(f"{count} ranks, repetition {repetition + 1} of {repetitions}", file=sys.stderr)
            for name, measure in sources:
                series[name, count].take(measure)
    return list(series.values())


def compile_programs(target):
    """Compiles the three programs; returns the directory that they are in."""
    out = target / "bench"
    library = target / "release" / "libpmi.so"
    (out / "lib").mkdir(parents=True, exist_ok=True)
    link = out / "lib" / "libpmi.so.0"
    link.unlink(missing_ok=True)
    link.symlink_to(library)
    compile_c(out / "exchange_libpmi", ["exchange.c", "exchange_libpmi.c"], [
        f"-I{TOP / 'pmi-adapter' / 'include'}", str(library), f"-Wl,-rpath,{out / 'lib'}"])
    compile_c(out / "exchange_wire", ["exchange.c", "exchange_wire.c"], [])
    compile_c(out / "futex_floor", ["futex_floor.c"], [])
    return out


def compile_c(program, sources, options):
    """Compiles one program with optimisation; symbols are bound at its start, not in the measurement."""
    compiler = os.environ.get("CC", "cc")
    paths = [str(HERE / source) for source in sources]
    subprocess.run([compiler, "-O2", "-Wall", "-Wl,-z,now", "-o", str(program), *paths, *options], check=True)


def launchers(target, venv, programs):
    """Ours first, then those that it is compared with."""
    wire = str(programs / "exchange_wire")
    ours = Launcher("pmi-ssh", [str(target / "release" / "pmi-ssh")], str(programs / "exchange_libpmi"))
    return [
        ours,
        Launcher("hydra 4.0.2", ["/usr/bin/mpiexec.hydra"], wire),
        Launcher("hydra 5.0.2", [str(venv / "bin" / "mpiexec.hydra")], wire),
        Launcher("gforker 5.0.2", [str(venv / "bin" / "mpiexec.gforker")], wire),
    ]


def floor(programs):
    """The bare futex barrier, as a measurement like the others."""
    command = [str(programs / "futex_floor")]

    def measure(ranks):
        done = subprocess.run([*command, str(ranks)], stdout=subprocess.PIPE, text=True, timeout=TIMEOUT_SECONDS)
        if done.returncode != 0:
            raise RuntimeError(f"exit code {done.returncode}")
        return json.loads(done.stdout)

    return measure


def measure_memory(ours, ranks):
    """What our ranks hold in memory with about 4 MB in the log."""
    series = []
    for count, values in MEMORY_RUNS:
        if count in ranks:
            print(f"memory at {count} ranks", file=sys.stderr)
            series.append(Series(ours.name, count))
            series[-1].take(lambda ranks, values=values: ours.exchange(ranks, str(values)))
    return series


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


def parse_arguments():
    """Reads the command line; see scripts/bench --help."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--mpich-venv", type=Path, required=True)
    parser.add_argument("--reps", type=int)
    parser.add_argument("--ranks", type=lambda text: [int(number) for number in text.split(",")])
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    arguments.reps = arguments.reps or (2 if arguments.quick else 5)
    arguments.ranks = arguments.ranks or ([2, 64] if arguments.quick else RANKS)
    return arguments


def main():
    """Measures everything and writes both reports."""
    arguments = parse_arguments()
    result = {"machine": machine(), "repetitions": arguments.reps}
    programs = compile_programs(arguments.target.resolve())
    all_launchers = launchers(arguments.target.resolve(), arguments.mpich_venv, programs)

    sources = [(each.name, each.exchange) for each in all_launchers]
    exchange = interleaved(arguments.reps, arguments.ranks, [*sources, ("futex floor", floor(programs))])
    starts = [(each.name, each.start) for each in all_launchers]
    start = interleaved(arguments.reps, [n for n in START_RANKS if n <= max(arguments.ranks)], starts)
    memory = measure_memory(all_launchers[0], arguments.ranks)

    result["launchers"] = [each.name for each in all_launchers]
    for name, series in [("exchange", exchange), ("start", start), ("memory", memory)]:
        result[name] = [each.as_json() for each in series]
    result["ratios"] = report.ratios(result)
    (programs / "report.json").write_text(json.dumps(result, indent=1) + "\n")
    (programs / "report.md").write_text(report.markdown(result))
    print(report.markdown(result))
    print(f"Written to {programs / 'report.md'} and {programs / 'report.json'}")


if __name__ == "__main__":
    main()
