// How it went: counts and times, drawn by uPlot, told as a table, and said in figures. Who comes goes up, who goes goes down.

import { at, forget, h, plural, show, span, when } from "./dom.js";

const charts = new Map();
const HEIGHT = 200;
const DAY = 86400;
// Between two lines of a chart: whole numbers, and lengths of time that are told in one unit.
const COUNTS = [1, 2, 5].flatMap((lead) => [0, 1, 2, 3, 4, 5, 6].map((zeros) => lead * 10 ** zeros)).sort((a, b) => a - b);
const DURATIONS = [.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600];

export function past(analytics, tenant) {
  if (!analytics) return;
  const { buckets } = analytics;
  const times = buckets.map((bucket) => Date.parse(bucket.at) / 1000);
  const of = (key) => buckets.map((bucket) => bucket[key]);
  draw("counts", times, [
    { label: "Registrations", color: "--calm", bars: 0.8, values: of("registrations") },
    { label: "Evictions", color: "--bad", bars: 0.8, down: true, values: of("evictions") },
    { label: "Refusals", color: "--watch", bars: 0.4, down: true, values: of("refusals") },
  ], (value) => value.toLocaleString(), COUNTS);
  draw("times", times, [
    { label: "Half were faster", color: "--calm", values: of("median_ms").map(seconds) },
    { label: "95 % were faster", color: "--watch", values: of("p95_ms").map(seconds) },
  ], span, DURATIONS);
  figures(analytics);
  show(at("export"), tenant, () => [
    "The journal: ",
    h("a", { href: "#", "data-export": "csv" }, "CSV"), " ", h("a", { href: "#", "data-export": "json" }, "JSON"),
  ]);
}

const seconds = (millis) => (millis === null ? null : millis / 1000);

function draw(id, times, series, format, steps) {
  const place = at(id);
  show(place, [times, series, styled("--text"), place.clientWidth], () => {
    charts.get(id)?.destroy();
    const box = h("div", { role: "img", "aria-label": described(series, format) });
    requestAnimationFrame(() => {
      if (box.isConnected) charts.set(id, new uPlot(options(place.clientWidth, series, format, steps), [times, ...series.map(({ values, down }) => down ? values.map((value) => -value) : values)], box));
    });
    return [box, h("details", {}, h("summary", {}, "As a table"), table(times, series, format))];
  });
}

// In the reader's way of writing them.
function moments(_, times, _axis, _space, step) {
  const style = step < DAY ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" };
  return times.map((time) => new Date(time * 1000).toLocaleString([], style));
}

function options(width, series, format, steps) {
  const axis = { stroke: styled("--faint"), grid: { stroke: styled("--line"), width: 1 }, ticks: { show: false } };
  return {
    width: Math.max(width, 100),
    height: HEIGHT,
    cursor: { y: false },
    scales: { y: { range: (_, min, max) => [Math.min(min * 1.1, 0), max > 0 ? max * 1.1 : 1] } },
    axes: [{ ...axis, values: moments }, { ...axis, size: 60, incrs: steps, values: (_, values) => values.map((value) => format(Math.abs(value))) }],
    series: [{ label: "From", value: (_, time) => (time === null || time === undefined ? "" : new Date(time * 1000).toLocaleString()) }, ...series.map(({ label, color, bars }) => ({
      label,
      stroke: styled(color),
      fill: bars ? styled(color) : undefined,
      width: bars ? 0 : 2,
      paths: bars ? uPlot.paths.bars({ size: [bars, 40] }) : undefined,
      points: { show: !bars, size: 5 },
      spanGaps: !bars,
      value: (_, value) => (value === null || value === undefined ? "" : format(Math.abs(value))),
    }))],
  };
}

const styled = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function described(series, format) {
  return series.map(({ label, values }) => {
    const known = values.filter((value) => value !== null);
    return `${label}: ${known.length ? `at most ${format(Math.max(...known))}` : "none"}`;
  }).join("; ");
}

function table(times, series, format) {
  const rows = times.map((time, place) => [time, series.map(({ values }) => values[place])])
    .filter(([, values]) => values.some((value) => value));
  return h("div", { class: "scroll", tabindex: 0 }, h("table", {},
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "From"), series.map(({ label }) => h("th", { scope: "col" }, label)))),
    h("tbody", {}, rows.map(([time, values]) => h("tr", {},
      h("th", { scope: "row" }, new Date(time * 1000).toLocaleString()),
      values.map((value) => h("td", {}, value === null ? "–" : format(value))))))));
}

function figures(analytics) {
  const { regret, lifetime, time_to_slot: slot } = analytics;
  const rows = [
    ["Registrations", analytics.registrations.toLocaleString(), "accepted by SnapTrade"],
    ["Evictions", analytics.evictions.toLocaleString(), analytics.would_evict ? `${plural(analytics.would_evict, "more")} would have been` : "users deleted to make room"],
    ["Regret", regret.evicted ? `${Math.round((100 * regret.returned) / regret.evicted)} %` : "none",
      regret.returned ? `${plural(regret.returned, "evicted user")} came back, half of them within ${span(regret.gone.median_seconds)}` : "no evicted user came back"],
    ["A user stayed", lifetime ? span(lifetime.median_seconds) : "–", lifetime ? `half of ${plural(lifetime.count, "evicted user")} longer` : "nobody was evicted"],
    ["Room took", slot ? span(slot.median_seconds) : "–", slot ? `half of ${plural(slot.count, "registration")}; 95 % within ${span(slot.p95_seconds)}` : "no room had to be made"],
    ["Refusals", analytics.refusals.toLocaleString(), Object.entries(analytics.refusal_reasons).map(([reason, count]) => `${reason} ${count}`).join(", ") || "room was made whenever it was wanted"],
  ];
  show(at("figures"), rows, () => rows.map(([term, value, more]) => h("div", {}, h("dt", {}, term), h("dd", {}, h("b", {}, value), h("span", {}, more)))));
}

// The charts have the colours and the width of when they were drawn.
export function redraw() {
  forget(at("counts"));
  forget(at("times"));
}

export const since = (analytics) => when(analytics.from);
