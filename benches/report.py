"""The figures as tables: for the terminal, and for docs/performance.md with its charts."""

import statistics

import chart
import peers
import targets
from targets import case_title, quantiles, ratios, spread, upstream

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
RIGHT = "---:"


def terminal(results):
    """What was promised, and all of the processor time, in columns."""
    wanted = [("what", "measured", "target", "")]
    wanted += [(row.what, row.measured, row.target, row.verdict) for row in targets.rows(results)]
    took = [("CPU µs a request", "proxy", "median", "to nginx, median (min to max)")]
    for case, figures in results["cpu"].items():
        took += [(case_title(case), *rest) for rest in _cpu_lines(figures)]
    return f"{_columns(took)}\n\n{_columns(wanted)}\n"


def write(document, charts, results, facts):
    """Replaces the measured part of the document, and the charts."""
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{document} has no place for the figures. Remedy: put the lines {BEGIN} and {END} into it")
    charts.mkdir(parents=True, exist_ok=True)
    for name, drawn in _charts(results).items():
        (charts / f"{name}.svg").write_text(drawn)
    document.write_text(f"{before}{BEGIN}\n{_markdown(results, facts, charts.name)}\n{END}{after}")


def _markdown(results, facts, folder):
    wanted = [(row.what, row.measured, row.target, _stressed(row)) for row in targets.rows(results)]
    sections = [
        "\n".join(f"- {name}: {value}" for name, value in facts),
        "### Against the targets",
        _table(["", "measured", "target", ""], wanted),
        "### Processor time of a request",
        f"![Processor time of a request with TLS upstream]({folder}/cpu-tls.svg)",
        f"![Processor time of a request with plain upstream]({folder}/cpu-plain.svg)",
    ]
    for case, figures in results["cpu"].items():
        head = [case_title(case), "µs", "to nginx (min to max)"]
        sections.append(_table(head, _cpu_lines(figures), ["---", RIGHT, RIGHT]))
    sections += ["### Latency at 4,000 requests/s", f"![Latency]({folder}/latency.svg)", _latency_table(results)]
    sections += ["### Memory and start", f"![Memory]({folder}/memory.svg)", _memory_table(results)]
    return "\n\n".join(sections)


def _stressed(row):
    return f"**{row.verdict}**" if row.is_met is False else row.verdict


def _cpu_lines(figures):
    lines = []
    for name, values in figures.items():
        to_nginx = "1" if name == peers.NGINX else spread(ratios(figures, name))
        lines.append((name, f"{statistics.median(values):.1f}", to_nginx))
    return lines


def _latency_table(results):
    lines = []
    for tls, figures in results["latency"].items():
        for name, rounds in figures.items():
            parts = [f"{_median_quantile(rounds, part):,.0f}" for part in targets.QUANTILES.values()]
            lines.append((_through(name, tls), *parts))
    return _table(["µs", *targets.QUANTILES], lines, ["---", RIGHT, RIGHT, RIGHT])


def _median_quantile(rounds, part):
    return statistics.median(quantiles(rounds, part))


def _through(name, tls):
    return name if name == "no proxy" else f"{name}, {upstream(tls)} upstream"


def _memory_table(results):
    lines = []
    for name, memory in results["memory"].items():
        starts = results["first_served"][name]
        times = [f"{statistics.median(starts[tls]):.1f}" for tls in (False, True)]
        lines.append((name, *(f"{memory[state]:.1f}" for state in ("idle", "loaded", "connected")), *times))
    head = ["", "idle, MiB", "under load, MiB", "1,000 idle connections, MiB", "start, plain, ms", "start, TLS, ms"]
    return _table(head, lines, ["---", *[RIGHT] * 5])


def _charts(results):
    found = {"memory": _memory_chart(results), "latency": _latency_chart(results)}
    for tls in (True, False):
        groups = [
            (f"{case.title}, {targets.workers(case)}", _medians(figures))
            for case, figures in results["cpu"].items()
            if case.tls == tls and len(case.names) > 2
        ]
        title = f"Processor time of a request, {upstream(tls)} upstream"
        found[f"cpu-{upstream(tls).lower()}"] = chart.bars(title, "µs, less is better", groups, peers.SIDECAR)
    return found


def _medians(figures):
    return [(name, statistics.median(values)) for name, values in figures.items()]


def _latency_chart(results):
    """Without p99.9, beside which the others would be dots."""
    groups = []
    for tls, figures in results["latency"].items():
        for name in ("p50", "p99"):
            part = targets.QUANTILES[name]
            bars = [(peer, _median_quantile(rounds, part)) for peer, rounds in figures.items()]
            groups.append((f"{name}, {upstream(tls)} upstream", bars))
    return chart.bars("Latency at 4,000 requests/s", "µs, less is better", groups, peers.SIDECAR)


def _memory_chart(results):
    states = {"idle": "idle", "under load": "loaded", "with 1,000 idle connections": "connected"}
    groups = [
        (told, [(name, memory[state]) for name, memory in results["memory"].items()])
        for told, state in states.items()
    ]
    return chart.bars("Memory, TLS upstream", "MiB, less is better", groups, peers.SIDECAR)


def _table(head, lines, marks=None):
    marks = marks or ["---"] * len(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, marks, *lines])


def _columns(lines):
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)
