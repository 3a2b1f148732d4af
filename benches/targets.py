"""What is promised, and whether it was reached."""

import dataclasses
import statistics

import peers

QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


@dataclasses.dataclass(frozen=True)
class Row:
    what: str
    measured: str
    target: str
    # None where nothing was measured.
    is_met: bool | None

    @property
    def verdict(self):
        return {True: "met", False: "missed", None: "not measured" if self.target else ""}[self.is_met]


def ratios(figures, name, base=peers.NGINX):
    """One a round, each against the same round's."""
    return [one / other for one, other in zip(figures[name], figures[base], strict=True)]


def spread(values, digits=2):
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def quantiles(rounds, part):
    """One a round: of all rounds together, a single disturbed one would be all that the last ones tell."""
    return [sorted(values)[min(len(values) - 1, int(len(values) * part))] for values in rounds]


def rows(results):
    found = [_cpu_row(case, figures) for case, figures in results["cpu"].items()]
    for tls, figures in results["latency"].items():
        found += _latency_rows(tls, figures)
    found += _memory_rows(results["memory"][peers.SIDECAR], results["memory_over"])
    found += [_start_row(tls, took) for tls, took in results["first_served"][peers.SIDECAR].items()]
    megabytes = results["binary_bytes"] / 1e6
    found.append(Row("stripped release binary", f"{megabytes:.1f} MB", "at most 12 MB", megabytes <= 12))
    found += [_own_share_row(tls, figures) for tls, figures in results["own_share"].items()]
    return found + _admission_rows(results["admission"], results["admission_alone"])


def upstream(tls):
    return "TLS" if tls else "plain"


def workers(case):
    return "1 worker" if case.workers == 1 else f"{case.workers} workers"


def case_title(case):
    return f"{case.title}, {upstream(case.tls)} upstream, {workers(case)}"


def _cpu_row(case, figures):
    """At most, and hoped for, of nginx's processor time."""
    wanted = {
        "1 KiB reply": {True: (0.92, 0.80), False: (1.12, 1.00)}[case.tls],
        "100 KiB reply": (0.80, None),
        "1 KiB post": (1.05, None),
        "16 KiB upload": (1.05, None),
    }
    limit, aim = wanted[case.title]
    found = ratios(figures, peers.SIDECAR)
    told = f"at most {limit:.2f}" + (f", aim {aim:.2f}" if aim else "")
    return Row(f"CPU to nginx: {case_title(case)}", spread(found), told, statistics.median(found) <= limit)


def _latency_rows(tls, figures):
    rows_found = []
    for name, part in QUANTILES.items():
        found = ratios({peer: quantiles(rounds, part) for peer, rounds in figures.items()}, peers.SIDECAR)
        what = f"latency {name} to nginx at 4,000 requests/s, {upstream(tls)} upstream"
        rows_found.append(Row(what, spread(found), "at most 1.00", statistics.median(found) <= 1))
    return rows_found


def _memory_rows(memory, over):
    idle, loaded = memory["idle"], memory["loaded"]
    more, grown = memory["connected"] - idle, over["all"] - over["settled"]
    thousands = f"{over['requests'] / 1000:,.0f} thousand"
    return [
        Row("memory, idle", f"{idle:.1f} MiB", "at most 8 MiB", idle <= 8),
        Row("memory under load", f"{loaded:.1f} MiB", "at most 16 MiB", loaded <= 16),
        Row("memory more with 1,000 idle connections", f"{more:.1f} MiB", "at most 16 MiB", more <= 16),
        Row(f"memory more after {thousands} requests", f"{max(0, grown):.1f} MiB", "flat: at most 0.5 MiB", grown <= 0.5),
    ]


def _start_row(tls, took):
    limit, middle = 25 if tls else 10, statistics.median(took)
    what = f"exec to first served request, {upstream(tls)} upstream"
    return Row(what, f"{spread(took, 1)} ms", f"at most {limit} ms", middle <= limit)


def _own_share_row(tls, figures):
    found = ratios(figures, peers.SIDECAR, peers.BARE)
    what = f"CPU of the complete program to its data plane alone, {upstream(tls)} upstream"
    return Row(what, spread(found), "at most 1.05", statistics.median(found) <= 1.05)


def _admission_rows(whole, alone):
    return [
        Row("CPU of an admission's own work", f"{alone:.0f} µs", "at most 150 µs", alone <= 150),
        Row("CPU of an admission with its four calls, one at a time", f"{whole:.0f} µs", "", None),
    ]
