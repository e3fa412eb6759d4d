"""Process managers, repetitions and medians: what every part of the benchmark uses."""

import json
import os
import statistics
import subprocess
import sys
import time

TIMEOUT_SECONDS = 120


def run(command, variables=None):
    """Runs a command; returns (seconds, stdout), or raises RuntimeError."""
    started = time.perf_counter()
    try:
        done = subprocess.run(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT_SECONDS,
            env={**os.environ, **(variables or {})},
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"did not end within {TIMEOUT_SECONDS} s") from None
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        raise RuntimeError(f"exit code {done.returncode}: {reason_in(done.stderr)[:200]}")
    return seconds, done.stdout


def reason_in(stderr):
    """The last line that gives a reason: what srun says of tasks that have failed comes after theirs, and gives none."""
    lines = stderr.strip().splitlines() or ["no message"]
    return next((line for line in reversed(lines) if not line.startswith("srun: ")), lines[-1])


def result_in(output):
    """The one line of JSON that a benchmark program prints."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if len(lines) != 1:
        raise RuntimeError(f"printed no result: {output[:200]!r}")
    return json.loads(lines[0])


class Launcher:
    """A process manager, and the exchange program that speaks its dialect."""

    def __init__(self, name, command, program, variables=None):
        self.name = name
        self.command = command
        self.program = program
        self.variables = variables

    def run(self, ranks, *program):
        """Runs a program on so many ranks; returns (seconds, stdout), or raises RuntimeError."""
        return run([*self.command, "-n", str(ranks), *program], self.variables)

    def exchange(self, ranks, *arguments):
        """One run of the exchange program: what its rank 0 reports."""
        return result_in(self.run(ranks, self.program, *arguments)[1])

    def start(self, ranks):
        """One job that does nothing: its time in nanoseconds."""
        seconds, _ = self.run(ranks, "/bin/true")
        return {"start_ns": seconds * 1e9}

    def init(self, ranks):
        """One job that only initializes MPI: time of the job, and until rank 0 knew that all were there."""
        seconds, output = self.run(ranks, self.program)
        return {"job_ns": seconds * 1e9, "init_ns": result_in(output)["init_ns"]}


def floor(*command):
    """A program that needs no process manager, as a measurement like the others."""
    return lambda ranks: result_in(run([*map(str, command), str(ranks)])[1])


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
