"""Turns the benchmark's medians into ratios and a Markdown report."""

OURS = "pmi-ssh"
OURS_WIRE = "pmi-ssh, wire"
FUTEX_FLOOR = "futex floor"
EPOLL_FLOOR = "epoll floor"

EXCHANGE_COLUMNS = [
    ("exchange_ns", "exchange"),
    ("first_exchange_ns", "first exchange"),
    ("put_ns", "of it put and commit"),
    ("wait_ns", "and its barrier"),
    ("get_ns", "per get"),
    ("get_slowest_rank_ns", "per get, slowest rank"),
    ("barrier_ns", "barrier"),
    ("barrier_mean_ns", "barrier, mean"),
]
CPU_COLUMNS = [("cpu_exchange_ns", "CPU per request, exchange"), ("cpu_barrier_ns", "CPU per request, barrier")]
RATIO_COLUMNS = ["exchange_ns", "first_exchange_ns", "get_ns", "barrier_ns"]
WIRE_RATIO_COLUMNS = RATIO_COLUMNS + [name for name, _ in CPU_COLUMNS]
INIT_COLUMNS = [("init_ns", "MPI_Init and MPI_Barrier on rank 0"), ("job_ns", "the whole job")]


def find(series, launcher, ranks):
    """The medians of one launcher at one number of ranks; empty when it failed or was not run."""
    for each in series:
        if each["launcher"] == launcher and each["ranks"] == ranks:
            return each["median"]
    return {}


def rank_counts(series):
    """Every number of ranks that was measured, in order."""
    return sorted({each["ranks"] for each in series})


def names(series):
    """Every launcher and floor that was measured, in order."""
    return list(dict.fromkeys(each["launcher"] for each in series))


def is_floor(name):
    """Is this no process manager, but what none can be faster than?"""
    return name.startswith((FUTEX_FLOOR, EPOLL_FLOOR))


def is_ours(name):
    """Is this measurement one of ours?"""
    return name.startswith(OURS) or " under pmi-ssh" in name


def ratio(theirs, ours, name):
    """How many times as long theirs took; None when either is missing."""
    return theirs[name] / ours[name] if ours.get(name) and theirs.get(name) else None


def compared(series, ours, columns):
    """Theirs over `ours` for each number: above 1, ours is faster."""
    for ranks in rank_counts(series):
        mine = find(series, ours, ranks)
        for name in names(series):
            if not is_ours(name):
                theirs = find(series, name, ranks)
                yield ranks, name, {column: ratio(theirs, mine, column) for column in columns}


def init_compared(series):
    """MPI_Init: each library's own Hydra over each of ours."""
    for ranks in rank_counts(series):
        for mine in filter(is_ours, names(series)):
            library = mine.split(" under ")[0]
            for name in names(series):
                if name.startswith(library) and not is_ours(name):
                    ours, theirs = find(series, mine, ranks), find(series, name, ranks)
                    yield ranks, mine, name, {column: ratio(theirs, ours, column) for column, _ in INIT_COLUMNS}


def wire_series(result):
    """The measurements over the wire protocol, whichever part has them."""
    return result.get("wire") or result.get("exchange") or []


def ratios(result):
    """Every ratio of the report, for programs to read."""
    tables = [
        (OURS, result.get("exchange", []), RATIO_COLUMNS),
        (OURS_WIRE, wire_series(result), WIRE_RATIO_COLUMNS),
        (OURS, result.get("start", []), ["start_ns"]),
    ]
    found = []
    for ours, series, columns in tables:
        for ranks, name, values in compared(series, ours, columns):
            found += [{"ranks": ranks, "launcher": name, "over": ours, "of": column, "ratio": values[column]}
                      for column in columns]
    for ranks, ours, theirs, values in init_compared(result.get("init", [])):
        found += [{"ranks": ranks, "launcher": theirs, "over": ours, "of": column, "ratio": value}
                  for column, value in values.items()]
    return found


def time_text(nanoseconds):
    """A time with a unit that fits its size and three digits that mean something."""
    if not nanoseconds:
        return "–"
    for limit, divisor, unit in [(1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")]:
        if nanoseconds < limit:
            return f"{nanoseconds / divisor:.3g} {unit}"
    return f"{nanoseconds / 1e9:.3g} s"


def ratio_text(value):
    """A ratio, or a dash."""
    if value is None:
        return "–"
    return f"{value:,.0f}×" if value >= 100 else f"{value:.3g}×"


def table(header, rows):
    """A Markdown table, its columns as wide as what is in them."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    padded = [[cell.ljust(width) for cell, width in zip(line, widths)] for line in lines]
    padded.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(line) + " |" for line in padded) + "\n"


def time_table(series, columns):
    """Medians by ranks and launcher."""
    rows = []
    for ranks in rank_counts(series):
        for name in names(series):
            median = find(series, name, ranks)
            rows.append([str(ranks), name] + [time_text(median.get(column)) for column, _ in columns])
    return table(["ranks", "launcher"] + [title for _, title in columns], rows)


def ratio_table(series, ours, columns):
    """Theirs over ours, by ranks and launcher."""
    titles = dict(EXCHANGE_COLUMNS + CPU_COLUMNS)
    rows = [[str(ranks), name] + [ratio_text(values[column]) for column in columns]
            for ranks, name, values in compared(series, ours, columns)]
    return table(["ranks", "than"] + [titles[column] for column in columns], rows)


def exchange_section(result):
    """Exchange, get and barrier, whoever was measured."""
    series = result.get("exchange") or result.get("wire")
    if not series:
        return ""
    return f"""## Exchange

Every rank puts one 64-byte value, commits, waits in a barrier and gets the values of all ranks; time of the
slowest rank, and the medians over the ranks of its two first parts. Per get: the time of those gets divided by
their number, median over the ranks, and that of the slowest rank. Barrier: median and mean of 100 empty
barriers, of the slowest rank.

`{OURS}` goes through libpmi.so to shared memory; `{OURS_WIRE}` and the other launchers answer one wire client,
the same program under each. The futex floor is a bare barrier in shared memory. The epoll floor is a bare loop
that answers the same requests without looking anything up; under "server batch" it runs in SCHED_BATCH, under
"all batch" its clients do too, which no server can arrange. CPU per request is the processor time of the process
that answers, divided by the requests.

{time_table(series, EXCHANGE_COLUMNS + CPU_COLUMNS)}
"""


def ratio_section(result):
    """Theirs over ours, through our library and over the wire."""
    text = ""
    if result.get("exchange"):
        text += f"Theirs over `{OURS}`, that is, through libpmi.so: how many times as long they take.\n\n"
        text += ratio_table(result["exchange"], OURS, RATIO_COLUMNS) + "\n"
    if wire_series(result):
        text += f"Theirs over `{OURS_WIRE}`: the same client, another server.\n\n"
        text += ratio_table(wire_series(result), OURS_WIRE, WIRE_RATIO_COLUMNS) + "\n"
    return text and f"## Ratios\n\n{text}"


def start_section(result):
    """Time of a job of /bin/true, by ranks and launcher, and theirs over ours."""
    series = result.get("start")
    if not series:
        return ""
    rows = []
    for ranks in rank_counts(series):
        mine = find(series, OURS, ranks)
        for name in names(series):
            median = find(series, name, ranks)
            rows.append([str(ranks), name, time_text(median.get("start_ns")),
                         ratio_text(ratio(median, mine, "start_ns"))])
    return f"""## Job start

`-n RANKS /bin/true`, from start to end of the launcher.

{table(["ranks", "launcher", "job start and end", "theirs over ours"], rows)}
"""


def init_section(result):
    """Time of MPI_Init under ours and under the library's own process manager."""
    series = result.get("init")
    if not series:
        return ""
    rows = [[str(ranks), theirs, mine] + [ratio_text(values[column]) for column, _ in INIT_COLUMNS]
            for ranks, mine, theirs, values in init_compared(series)]
    header = ["ranks", "theirs", "over ours"] + [title for _, title in INIT_COLUMNS]
    return f"""## MPI_Init

A program that initializes MPI, waits in one barrier and ends: time on rank 0 until the barrier was over, and time of
the job from start to end of the launcher.

{time_table(series, INIT_COLUMNS)}
{table(header, rows)}
"""


def memory_section(result):
    """Memory of our ranks with the same log at several sizes."""
    series = result.get("memory")
    if not series:
        return ""
    rows = []
    for each in series:
        cells = [each["median"].get(name) for name in ("rss_kib", "pss_kib", "shared_total_kib")]
        rows.append([str(each["ranks"])] + ["–" if cell is None else f"{cell:,.0f} KiB" for cell in cells])
    header = ["ranks", "largest RSS of a rank", "largest PSS of a rank", "shared memory, all ranks together"]
    return f"""## Memory

All ranks of one host, with 4 MB of values in the log, each rank having read all of them. Where the log is
there once, the last column does not grow with the number of ranks.

{table(header, rows)}
"""


def failure_section(result):
    """Every repetition that did not give a number, with its reason."""
    lines = []
    for part in ("exchange", "wire", "start", "memory", "init"):
        for each in result.get(part, []):
            lines += [f"- {part}, {each['launcher']}, {each['ranks']} ranks: {text}" for text in each["failures"]]
    text = "\n".join(lines) if lines else "None."
    return f"## Failures\n\n{text}\n"


def markdown(result):
    """The whole report."""
    machine = result["machine"]
    sections = [exchange_section, ratio_section, start_section, init_section, memory_section, failure_section]
    head = f"""# Benchmark

{machine['cores']} cores ({machine['cpu']}), {machine['memory_mib']} MiB, Linux {machine['kernel']},
load before {machine['load_before']:.2f}; medians of {result['repetitions']} interleaved repetitions.

"""
    return head + "".join(section(result) for section in sections)
