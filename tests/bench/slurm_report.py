"""Turns the medians of the benchmark under Slurm into ratios and a Markdown report."""

import statistics

from report import EXCHANGE_COLUMNS, names, rank_counts, ratio_text, table, time_text

OURS = "pmi-srun"
SPANK = "spank"
DROP_IN = "drop-in"
OURS_PMI2 = "pmi-srun, libpmi2"
OURS_WIRE = "pmi-srun, wire"
SPANK_WIRE = "spank, wire"
MPI_PMI2 = "srun --mpi=pmi2"
LIBPMI = "Slurm's libpmi"
HYDRA_4 = "hydra 4.0.2"
HYDRA_5 = "hydra 5.0.2"
BARE = "srun --mpi=none, /bin/true"

OUR_WAYS = [OURS, SPANK, DROP_IN, OURS_PMI2, OURS_WIRE, SPANK_WIRE]
ALL_WAYS = [*OUR_WAYS, MPI_PMI2, LIBPMI, HYDRA_4, HYDRA_5]
# Ways that cost something even where the program does not use PMI.
TRUE_TOO = [OURS, SPANK]

RATIO_COLUMNS = [("exchange_ns", "exchange"), ("first_exchange_ns", "first exchange"), ("get_ns", "per get"),
                 ("barrier_ns", "barrier")]
START_COLUMNS = [("start_ns", "start to end"), ("start_ns_over_bare", "over bare srun"),
                 ("cpu_ns", "processor time"), ("cpu_ns_over_bare", "over bare srun's")]
# What is to be reached: (ranks, number, how many times as long mpi/pmi2 takes).
RATIO_TARGETS = [(64, "exchange_ns", 60), (64, "barrier_ns", 25)]
# At so many ranks a job's start may take so many nanoseconds more than under a bare srun.
START_TARGET = (64, 30e6)


def samples(series, launcher, ranks, column):
    """Every sample of one number, in the order of their taking."""
    found = [each for each in series if each["launcher"] == launcher and each["ranks"] == ranks]
    return [sample[column] for each in found for sample in each["samples"] if column in sample]


def middle(values):
    """The median, or None without values."""
    return statistics.median(values) if values else None


def signed_time(nanoseconds):
    """A time that may be negative."""
    if not nanoseconds:
        return "0"
    return f"-{time_text(-nanoseconds)}" if nanoseconds < 0 else time_text(nanoseconds)


def spread_text(values):
    """Median, and in brackets the least and the largest."""
    if not values:
        return "–"
    least, most = (signed_time(value) for value in (min(values), max(values)))
    return f"{signed_time(middle(values))} ({least} to {most})"


def time_table(series, columns):
    """Medians and spread by ranks and way."""
    rows = []
    for ranks in rank_counts(series):
        for name in names(series):
            cells = [spread_text(samples(series, name, ranks, column)) for column, _ in columns]
            rows.append([str(ranks), name, *cells])
    return table(["ranks", "way", *(title for _, title in columns)], rows)


def compared(series):
    """(ranks, theirs, ours, {number: ratios}): theirs over ours. The first ratio is that of the medians, the others
    are those of each repetition."""
    for ranks in rank_counts(series):
        for ours in (name for name in names(series) if name in OUR_WAYS):
            for theirs in (name for name in names(series) if name not in OUR_WAYS):
                yield ranks, theirs, ours, {
                    column: quotients(*(samples(series, name, ranks, column) for name in (theirs, ours)))
                    for column, _ in RATIO_COLUMNS
                }


def quotients(theirs, ours):
    """The ratio of the medians, then those of single repetitions; nothing where either is missing."""
    if not theirs or not ours:
        return []
    return [middle(theirs) / middle(ours), *(their / our for their, our in zip(theirs, ours))]


def ratios(result):
    """Every ratio of the report, for programs to read."""
    for ranks, theirs, ours, values in compared(result["exchange"]):
        for column, found in values.items():
            yield {"ranks": ranks, "launcher": theirs, "over": ours, "of": column, "ratio": found[0] if found else None}


def ratio_cell(found):
    """The ratio of the medians, and the least and the largest of a repetition."""
    if not found:
        return "–"
    return f"{ratio_text(found[0])} ({ratio_text(min(found[1:]))} to {ratio_text(max(found[1:]))})"


def exchange_section(result):
    """Exchange, get and barrier."""
    series = result["exchange"]
    rows = [[str(ranks), theirs, ours, *(ratio_cell(values[column]) for column, _ in RATIO_COLUMNS)]
            for ranks, theirs, ours, values in compared(series)]
    header = ["ranks", "theirs", "over ours", *(title for _, title in RATIO_COLUMNS)]
    return f"""## Exchange

Every rank puts one 64-byte value, commits, waits in a barrier and gets the values of all ranks; time of the slowest
rank, and the medians over the ranks of its two first parts. Barrier: median and mean of {result['barriers']} empty
barriers, of the slowest rank. In brackets: the least and the largest of a repetition.

`{OURS}`, `{SPANK}` and `{DROP_IN}` go through our libpmi.so, `{OURS_PMI2}` through our libpmi2.so, and what is called
`wire` serves a client that the program carries itself, as Hydra does. `{MPI_PMI2}` goes through Slurm's libpmi2,
`{LIBPMI}` needs nothing else (`--mpi=none`). Hydra runs inside of salloc.

{time_table(series, EXCHANGE_COLUMNS)}
How many times as long they take:

{table(header, rows)}
"""


def start_section(result):
    """What a job's start and end cost."""
    return f"""## Job start

A program that joins its job and leaves it (or `/bin/true`, where the table says so), from start to end of srun,
pmi-srun or Hydra, whose allocation is there already; beside it the difference to `srun --mpi=none /bin/true` of the same repetition. Processor time is
that of the whole machine meanwhile, whoever used it.

{time_table(result["start"], START_COLUMNS)}
"""


def target_section(result):
    """What is to be reached, and whether it is."""
    rows = []
    for ranks, column, least in RATIO_TARGETS:
        title = dict(RATIO_COLUMNS)[column]
        for found_ranks, theirs, ours, values in compared(result["exchange"]):
            if (found_ranks, theirs) == (ranks, MPI_PMI2) and values[column] and ours in (OURS, SPANK, DROP_IN):
                ratio = values[column][0]
                rows.append([f"{title} of {ranks} ranks", ours, f"at least {least}×", ratio_text(ratio),
                             reached(ratio >= least)])
    ranks, most = START_TARGET
    for name in names(result["start"]):
        cost = middle(samples(result["start"], name, ranks, "start_ns_over_bare"))
        if cost is not None and name.split(",")[0] in OUR_WAYS:
            rows.append([f"start of {ranks} ranks", name, f"at most {time_text(most)} over bare srun", signed_time(cost),
                         reached(cost <= most)])
    header = ["what", "way", "wanted", "measured", "reached"]
    return f"## Targets\n\n{table(header, rows)}\n" if rows else ""


def reached(answer):
    """A word for it."""
    return "yes" if answer else "no"


def failure_section(result):
    """What was not measured, and every repetition that did not give a number, with its reason."""
    lines = [f"- not measured: {name}: {reason}" for name, reason in result["not_measured"].items()]
    for part in ("exchange", "start"):
        for each in result[part]:
            lines += [f"- {part}, {each['launcher']}, {each['ranks']} ranks: {text}" for text in each["failures"]]
    text = "\n".join(lines) if lines else "None."
    return f"## Failures\n\n{text}\n"


def markdown(result):
    """The whole report."""
    machine = result["machine"]
    head = f"""# Benchmark under Slurm

{result['nodes']} nodes in namespaces of one machine: {machine['cores']} cores ({machine['cpu']}), {machine['memory_mib']}
MiB, Linux {machine['kernel']}, load before {machine['load_before']:.2f}; medians of {result['repetitions']} interleaved
repetitions, twice as many for job starts below 256 ranks.

"""
    sections = [exchange_section, start_section, target_section, failure_section]
    return head + "".join(section(result) for section in sections)
