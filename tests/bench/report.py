"""Turns the benchmark's medians into ratios and a Markdown report."""

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
RATIO_COLUMNS = ["exchange_ns", "first_exchange_ns", "get_ns", "barrier_ns"]
FLOOR = "futex floor"


def find(series, launcher, ranks):
    """The medians of one launcher at one number of ranks; empty when it failed or was not run."""
    for each in series:
        if each["launcher"] == launcher and each["ranks"] == ranks:
            return each["median"]
    return {}


def rank_counts(series):
    """Every number of ranks that was measured, in order."""
    return sorted({each["ranks"] for each in series})


def ratio(theirs, ours, name):
    """How many times as long theirs took; None when either is missing."""
    return theirs[name] / ours[name] if ours.get(name) and theirs.get(name) else None


def ratios(result):
    """Theirs over ours for each measurement: above 1, ours is faster."""
    ours, *others = result["launchers"]
    found = []
    for kind, names in [("exchange", RATIO_COLUMNS), ("start", ["start_ns"])]:
        for ranks in rank_counts(result[kind]):
            mine = find(result[kind], ours, ranks)
            for other in others:
                theirs = find(result[kind], other, ranks)
                for name in names:
                    found.append({"ranks": ranks, "launcher": other, "of": name, "ratio": ratio(theirs, mine, name)})
            floor = find(result[kind], FLOOR, ranks)
            if floor:
                over = ratio(mine, floor, "barrier_ns")
                found.append({"ranks": ranks, "launcher": FLOOR, "of": "ours over floor", "ratio": over})
    return found


def time_text(nanoseconds):
    """A time with a unit that fits its size and three digits that mean something."""
    if nanoseconds is None:
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
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def exchange_table(result):
    """Medians of exchange, get and barrier, by ranks and launcher."""
    rows = []
    for ranks in rank_counts(result["exchange"]):
        for launcher in [*result["launchers"], FLOOR]:
            median = find(result["exchange"], launcher, ranks)
            rows.append([str(ranks), launcher] + [time_text(median.get(name)) for name, _ in EXCHANGE_COLUMNS])
    return table(["ranks", "launcher"] + [title for _, title in EXCHANGE_COLUMNS], rows)


def ratio_table(result):
    """Theirs over ours, by ranks and launcher; and ours over the floor."""
    ours, *others = result["launchers"]
    rows = []
    for ranks in rank_counts(result["exchange"]):
        mine = find(result["exchange"], ours, ranks)
        over = ratio_text(ratio(mine, find(result["exchange"], FLOOR, ranks), "barrier_ns"))
        for other in others:
            theirs = find(result["exchange"], other, ranks)
            rows.append([str(ranks), other] + [ratio_text(ratio(theirs, mine, name)) for name in RATIO_COLUMNS] + [over])
    return table(["ranks", "than", "exchange", "first exchange", "get", "barrier", "our barrier over the floor"], rows)


def start_table(result):
    """Time of a job of /bin/true, by ranks and launcher, and theirs over ours."""
    ours = result["launchers"][0]
    rows = []
    for ranks in rank_counts(result["start"]):
        mine = find(result["start"], ours, ranks)
        for launcher in result["launchers"]:
            median = find(result["start"], launcher, ranks)
            rows.append([str(ranks), launcher, time_text(median.get("start_ns")),
                         ratio_text(ratio(median, mine, "start_ns"))])
    return table(["ranks", "launcher", "job start and end", "theirs over ours"], rows)


def memory_table(result):
    """Memory of our ranks with the same log at several sizes."""
    rows = []
    for each in result["memory"]:
        median = each["median"]
        cells = [median.get(name) for name in ("rss_kib", "pss_kib", "shared_total_kib")]
        rows.append([str(each["ranks"])] + ["–" if cell is None else f"{cell:,.0f} KiB" for cell in cells])
    return table(["ranks", "largest RSS of a rank", "largest PSS of a rank", "shared memory, all ranks together"], rows)


def failures(result):
    """Every repetition that did not give a number, with its reason."""
    lines = []
    for kind in ("exchange", "start", "memory"):
        for each in result[kind]:
            lines += [f"- {kind}, {each['launcher']}, {each['ranks']} ranks: {text}" for text in each["failures"]]
    return "\n".join(lines) if lines else "None."


def markdown(result):
    """The whole report."""
    machine = result["machine"]
    return f"""# Benchmark

{machine['cores']} cores ({machine['cpu']}), {machine['memory_mib']} MiB, Linux {machine['kernel']},
load before {machine['load_before']:.2f}; medians of {result['repetitions']} interleaved repetitions.

Exchange: every rank puts one 64-byte value, commits, waits in a barrier and gets the values of all ranks;
time of the slowest rank, and the medians over the ranks of its two first parts. Per get: the time of those gets divided by their number, median over the ranks, and
that of the slowest rank. Barrier: median and mean of 100 empty barriers, of the slowest rank.

{exchange_table(result)}
## Ratios

Theirs over ours: how many times as long they take.

{ratio_table(result)}
## Job start

`-n RANKS /bin/true`, from start to end of the launcher.

{start_table(result)}
## Memory

All ranks of one host, with 4 MB of values in the log, each rank having read all of them. Where the log is
there once, the last column does not grow with the number of ranks.

{memory_table(result)}
## Failures

{failures(result)}
"""
