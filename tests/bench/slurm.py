"""Runs the benchmark programs on a Slurm cluster of the project's own testbed: ours beside what Slurm and MPICH bring.

Called by scripts/bench slurm, which builds and installs what this needs. One cluster serves the whole run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import slurm_report as report
from build import CC, INCLUDE, TOP, Setting, compile_c, link_library, machine
from measure import Series, interleaved, result_in, run

TESTBED = TOP / "scripts" / "testbed-slurm"
NODES = 4
RANKS = [64, 256]
QUICK_RANKS = [64]
# More than any run asks of a node, so that a job never waits for the end of the one before.
PROCESSORS = 256
# Empty barriers of each run: with Slurm's libpmi one takes 50 ms at 64 ranks, and several times that at 256.
BARRIERS = 30
# Runs of a job that does nothing, for each of the others: the difference of two is wanted. Large jobs vary less.
STARTS, STARTS_LARGE, LARGE = 2, 1, 256
# Runs a command and says how long it took.
CLOCK = """
start=${EPOCHREALTIME/[.,]}; "$@" || exit; end=${EPOCHREALTIME/[.,]}
echo "{\\"start_ns\\": $(((end - start) * 1000))}"
"""
# What slurmstepd still does when srun has ended must not be counted with the next job.
SETTLE_SECONDS = 0.3
USER, HOME = "alice", "/run/testbed/home/alice"


class Testbed:
    """A cluster that ends with the `with` block, or with this process at the latest. `programs` is where the benchmark
    programs are, `plugins` are SPANK plugins."""

    def __init__(self, plugins, programs):
        self.programs = programs
        self.plugstack = tempfile.NamedTemporaryFile("w", prefix="plugstack-")
        self.plugstack.writelines(f"optional {plugin}\n" for plugin in plugins)
        self.plugstack.flush()

    def __enter__(self):
        words = [TESTBED, "--hosts", str(NODES), "--processors", str(PROCESSORS), "--plugstack", self.plugstack.name]
        self.process = subprocess.Popen([*map(str, words), "hold"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        inits = {}
        for line in self.process.stdout:
            kind, *words = line.split()
            if kind == "ready":
                self.login_init = inits["login"]
                return self
            if kind == "host":
                inits[words[0]] = words[1]
        raise SystemExit("the testbed does not come up; its complaint is above")

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.plugstack.close()

    def command(self, words):
        """What runs a command on the login host as an ordinary user."""
        enter = ["nsenter", "--target", self.login_init, "--mount", "--uts", "--ipc", "--net", "--pid", "--"]
        become = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups", "env", "--chdir", HOME, f"HOME={HOME}"]
        return [*enter, *become, *map(str, words)]


class Way:
    """A way to start a job with PMI: the words before the program, and the layer by which the program speaks.

    `library` is the directory in which the program finds its PMI library, if that is not Slurm's. `allocation` are words
    that go before all others, and whose time is not the job's.
    """

    def __init__(self, testbed, name, starter, layer, library=None, allocation=lambda ranks: []):
        self.testbed = testbed
        self.name = name
        self.starter = starter
        self.layer = layer
        self.library = library
        self.allocation = allocation

    def run(self, ranks, *program, clock=()):
        """Runs a program on so many ranks; returns what it prints, or raises RuntimeError."""
        variables = [f"LD_LIBRARY_PATH={self.library}"] if self.library else []
        words = [*self.allocation(ranks), *clock, *self.starter(ranks), *program]
        try:
            return run(self.testbed.command(["env", *variables, *words]))[1]
        except RuntimeError:
            # What hangs must not keep others waiting.
            subprocess.run(self.testbed.command(["scancel", "--user", USER]), check=False)
            raise

    def exchange(self, ranks):
        """One run of the exchange program: what its rank 0 reports."""
        return result_in(self.run(ranks, self.program("exchange"), 0, BARRIERS))

    def start(self, ranks, program):
        """One run of a program that prints nothing: how long it took."""
        return result_in(self.run(ranks, program, clock=["bash", "-c", CLOCK, "clock"]))

    def program(self, name):
        """Path of a program that speaks by this way's layer."""
        return f"{self.testbed.programs}/{name}_{self.layer}"

    def check(self):
        """Raises RuntimeError with the reason if this way does not work here, or the program would find another
        library than is meant."""
        self.exchange(NODES)
        if self.layer == "wire":
            return
        found = self.run(NODES, "ldd", self.program("exchange"))
        paths = [line.split()[2] for line in found.splitlines() if f"{self.layer}.so.0 =>" in line]
        ours = [path.startswith(str(self.library)) for path in paths]
        if not paths or any(each != bool(self.library) for each in ours):
            raise RuntimeError(f"the program would load {', '.join(sorted(set(paths))) or 'nothing'}")


def shape(ranks):
    """The words by which srun and salloc are told how many ranks, on how many nodes."""
    return [f"--nodes={NODES}", f"--ntasks={ranks}", f"--ntasks-per-node={ranks // NODES}"]


def srun(*words):
    """srun with these options."""
    return lambda ranks: ["srun", *words, *shape(ranks)]


def salloc(ranks):
    """An allocation. It often takes three seconds by itself, where srun's does not."""
    return ["salloc", "--quiet", *shape(ranks)]


def hydra(program):
    """A Hydra, which starts its proxies by srun."""
    return lambda ranks: [program, "-n", str(ranks)]


def all_ways(testbed, setting, chosen):
    """Every way there is, or those that are chosen, ours first, whether it works here or not."""
    ours = setting.programs / "lib"
    pmi_srun = lambda ranks: [setting.release / "pmi-srun", *shape(ranks)]
    rows = [
        (report.OURS, pmi_srun, "libpmi", ours),
        (report.SPANK, srun("--pmi-kvs"), "libpmi", ours),
        (report.DROP_IN, srun("--mpi=none"), "libpmi", ours),
        (report.OURS_PMI2, pmi_srun, "libpmi2", ours),
        (report.OURS_WIRE, pmi_srun, "wire"),
        (report.SPANK_WIRE, srun("--pmi-kvs"), "wire"),
        (report.MPI_PMI2, srun("--mpi=pmi2"), "libpmi2"),
        (report.LIBPMI, srun("--mpi=none"), "libpmi"),
        (report.HYDRA_4, hydra("/usr/bin/mpiexec.hydra"), "wire", None, salloc),
        (report.HYDRA_5, hydra(setting.mpich / "bin" / "mpiexec.hydra"), "wire", None, salloc),
    ]
    return [Way(testbed, *row) for row in rows if row[0] in (chosen or report.ALL_WAYS)]


def usable(ways):
    """Tries each way on few ranks; returns those that work, and the reasons of the others by name."""
    found, reasons = [], {}
    for way in ways:
        try:
            way.check()
            found.append(way)
        except RuntimeError as reason:
            reasons[way.name] = str(reason)
            print(f"not measured: {way.name}: {reason}", file=sys.stderr)
    return found, reasons


def busy_ns():
    """Processor time that all processes of this machine have used so far."""
    user, nice, system, _, _, irq, softirq = map(int, open("/proc/stat").readline().split()[1:8])
    return (user + nice + system + irq + softirq) * 1e9 / os.sysconf("SC_CLK_TCK")


class Starts:
    """Times of jobs that do nothing, each beside the bare srun of its repetition."""

    def __init__(self, testbed, ways):
        self.bare = Way(testbed, report.BARE, srun("--mpi=none"), None)
        self.ways = ways
        self.latest = {}

    def sources(self):
        """Pairs (name, function of the number of ranks), the bare srun first."""
        bare = [(report.BARE, self.measure_bare)]
        true = [(f"{way.name}, /bin/true", self.over_bare(way, "/bin/true")) for way in self.ways
                if way.name in report.TRUE_TOO]
        return bare + true + [(way.name, self.over_bare(way, way.program("start"))) for way in self.ways]

    def measure_bare(self, ranks):
        """One job without PMI, which the others of this repetition are compared with."""
        self.latest = self.timed(self.bare, ranks, "/bin/true")
        return self.latest

    def over_bare(self, way, program):
        """One job as a measurement, with its difference to the bare srun."""

        def measure(ranks):
            sample = self.timed(way, ranks, program)
            over = {f"{name}_over_bare": value - self.latest[name] for name, value in sample.items()}
            return sample | over

        return measure

    @staticmethod
    def timed(way, ranks, program):
        """Time from start to end, and the processor time until all is quiet again."""
        time.sleep(SETTLE_SECONDS)
        busy = busy_ns()
        sample = way.start(ranks, program)
        time.sleep(SETTLE_SECONDS)
        # What goes on in the machine while an allocation is waited for is not the job's either.
        return sample if way.allocation(ranks) else {**sample, "cpu_ns": busy_ns() - busy}


def compile_programs(setting):
    """Compiles every benchmark program for every layer. None has a path to a library in it: the way decides."""
    # Not beside the programs of the other benchmark, which know where our library is.
    programs = setting.programs / "slurm"
    programs.mkdir(parents=True, exist_ok=True)
    for layer in ("libpmi", "libpmi2"):
        link_library(setting, layer)
    for program in ("exchange", "start"):
        for layer in ("libpmi", "libpmi2"):
            compile_c(CC, programs / f"{program}_{layer}", [f"{program}.c", f"exchange_{layer}.c"],
                      [INCLUDE, str(setting.release / f"{layer}.so")])
        compile_c(CC, programs / f"{program}_wire", [f"{program}.c", "exchange_wire.c", "server_cpu.c"])
    return programs


def plugins(setting):
    """Our SPANK plugin, if it has been built."""
    names = ("spank_pmi.so", "libspank_pmi.so")
    found = [path for name in names if (path := setting.release / name).exists()]
    return found[:1]


def ranks_list(text):
    """The value of --ranks."""
    numbers = [int(number) for number in text.split(",")]
    wrong = [number for number in numbers if number < NODES or number % NODES or number > NODES * PROCESSORS]
    if wrong:
        raise argparse.ArgumentTypeError(f"{wrong[0]} ranks are not spread evenly over {NODES} nodes")
    return numbers


def parse_arguments():
    """Reads the command line; see scripts/bench --help."""
    parser = argparse.ArgumentParser(prog="scripts/bench slurm")
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--venvs", type=Path, required=True)
    parser.add_argument("--reps", type=int)
    parser.add_argument("--ranks", type=ranks_list)
    parser.add_argument("--way", action="append", choices=report.ALL_WAYS)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    arguments.reps = arguments.reps or (2 if arguments.quick else 5)
    arguments.ranks = arguments.ranks or (QUICK_RANKS if arguments.quick else RANKS)
    return arguments


def measure(testbed, setting, arguments):
    """All measurements, as the JSON report holds them."""
    ways, reasons = usable(all_ways(testbed, setting, arguments.way))
    exchange = interleaved(arguments.reps, arguments.ranks, [(way.name, way.exchange) for way in ways])
    sources = Starts(testbed, ways).sources()
    starts = []
    for ranks in arguments.ranks:
        times = STARTS if ranks < LARGE else STARTS_LARGE
        starts += interleaved(times * arguments.reps, [ranks], sources)
    return {
        "not_measured": reasons,
        "exchange": [series.as_json() for series in exchange],
        "start": [series.as_json() for series in starts],
    }


def main():
    """Measures everything and writes both reports."""
    arguments = parse_arguments()
    setting = Setting(arguments.target.resolve(), arguments.venvs.absolute())
    result = {"machine": machine(), "repetitions": arguments.reps, "nodes": NODES, "barriers": BARRIERS}
    programs = compile_programs(setting)
    with Testbed(plugins(setting), programs) as testbed:
        result |= measure(testbed, setting, arguments)
    result["ratios"] = list(report.ratios(result))
    (setting.programs / "slurm.json").write_text(json.dumps(result, indent=1) + "\n")
    (setting.programs / "slurm.md").write_text(report.markdown(result))
    print(report.markdown(result))
    print(f"Written to {setting.programs / 'slurm.md'} and {setting.programs / 'slurm.json'}")


if __name__ == "__main__":
    main()
