// What the overview tells: the headline, the slots, who goes next, the vital signs, the policy.

import { at, h, plural, show, span, when, worded } from "./dom.js";

const MODES = {
  enforce: ["Enforcing", "good", "It makes room for a registration by evicting a user."],
  "on-limit-error": ["On limit error", "good", "It evicts only after SnapTrade said that the limit is reached."],
  observe: ["Observing", "watch", "It decides and records, and deletes nobody."],
  off: ["Off", "watch", "Registrations are forwarded unmanaged."],
};

// A key with more slots than this is a bar instead of a row of slots.
const SLOTS_SHOWN_MAX = 60;

export function glance(overview, next) {
  const [name, tone, meaning] = overview.paused
    ? ["Paused", "watch", "Somebody paused it by hand: registrations are forwarded, and nobody is evicted."]
    : MODES[overview.mode] ?? [overview.mode, "watch", ""];
  show(at("mode"), [name, tone, meaning], () => [h("span", { class: `pill ${tone}` }, name), ` ${meaning}`]);
  at("headline").textContent = headline(overview);
  show(at("subline"), [overview, next], () => subline(overview, next));
  show(at("slots"), [overview.users, overview.limit, overview.pending_deletions], () => slots(overview));
  show(at("problems"), overview.problems, (problems) => problems.map((text) => h("li", { class: "problem" }, worded(text))));
}

function headline({ users, limit }) {
  if (users === null) return `The users are not counted yet; ${limit} are allowed`;
  if (users > limit) return `${users.toLocaleString()} users, and ${limit.toLocaleString()} are allowed`;
  return `${users.toLocaleString()} of ${plural(limit, "slot")} used`;
}

// What happens at the next registration, in a sentence.
function subline(overview, next) {
  const { users, limit, mode, paused, fuse } = overview;
  if (users === null) return "A registration counts them.";
  const free = limit - users;
  if (free > 0) return `The next ${free === 1 ? "registration finds" : `${free} registrations find`} room.`;
  if (paused || mode === "off") return "The next registration is forwarded as it is, and SnapTrade says whether there is room.";
  if (fuse.blown_until) return ["The fuse has blown: nobody is evicted. It closes ", when(fuse.blown_until), "."];
  if (next === undefined) return "";
  if (next === null) return "The next registration finds no room, and nobody can be evicted: everybody is protected.";
  const who = h("strong", {}, next.user_id);
  return mode === "observe"
    ? ["The next registration would evict ", who, " if it were not only observing."]
    : ["The next registration evicts ", who, "."];
}

function slots({ users, limit, pending_deletions: settling }) {
  const used = users ?? 0;
  const text = `${used} used, ${settling} settling, ${Math.max(limit - used, 0)} free`;
  const legend = h("p", { class: "legend" },
    h("span", { class: "key used" }, `${used.toLocaleString()} used`),
    settling ? h("span", { class: "key settling" }, `${plural(settling, "deletion")} settling`) : null,
    h("span", { class: "key free" }, `${Math.max(limit - used, 0).toLocaleString()} free`));
  if (limit > SLOTS_SHOWN_MAX) {
    const meter = h("meter", { min: 0, max: limit, value: Math.min(used, limit), "aria-label": text });
    return [meter, legend];
  }
  // A deletion that settles is told of below: by the sidecar's count its slot is free.
  const cells = Array.from({ length: Math.max(used, limit) }, (_, place) =>
    h("span", { class: `slot ${place < used ? "used" : "free"}${place >= limit ? " over" : ""}` }));
  return [h("div", { class: "slots", role: "img", "aria-label": text }, cells), legend];
}

export function next(user, overview, actions) {
  show(at("next"), [user, overview.may_change], () => {
    if (user === undefined) return h("p", { class: "faint" }, "Not known yet.");
    if (user === null) return h("p", {}, "Nobody. ", overview.users ? "Everybody is protected: see below by what." : "There are no users.");
    return [
      h("p", { class: "who" }, user.user_id),
      h("p", { class: "why" }, worded(user.why)),
      h("dl", {}, ...facts(user)),
      actions(user),
    ];
  });
}

function facts(user) {
  const connections = user.connections === null ? "unknown" : connectionsOf(user.connections);
  return [
    ["Registered", when(user.registered_at, "unknown when")],
    ["Last active", when(user.last_active, "never seen")],
    ["Calls", user.calls.toLocaleString()],
    ["Connections", connections],
  ].flatMap(([term, text]) => [h("dt", {}, term), h("dd", {}, text)]);
}

export function connectionsOf(connections) {
  if (!connections) return "unknown";
  const { working, broken } = connections;
  return broken ? `${working} working, ${broken} broken` : `${working}`;
}

export function signs(overview) {
  const { fuse, budget, registry } = overview;
  const skew = overview.clock_skew_seconds;
  const rows = [
    ["Fuse", fuse.blown_until
      ? ["Blown. It closes ", when(fuse.blown_until), `: ${fuse.used} evictions in ${span(fuse.window_seconds)}, and ${fuse.evictions} are allowed.`]
      : `Closed: ${fuse.used ?? "an unknown number"} of ${plural(fuse.evictions, "eviction")} used in ${span(fuse.window_seconds)}.`, fuse.blown_until],
    ["Calls left", budget.remaining === null ? "SnapTrade has not said." : `${budget.remaining.toLocaleString()} this minute, says SnapTrade.`,
      budget.remaining !== null && budget.remaining < 20],
    ["Clock", skew === null ? "Not compared yet." : Math.abs(skew) < 2 ? "Agrees with SnapTrade's." : `SnapTrade's is ${span(Math.abs(skew))} ${skew > 0 ? "ahead" : "behind"}.`,
      skew !== null && Math.abs(skew) > 30],
    ["Registry", registry.up ? registry.durable ? `${registry.home}, up.` : "In memory: a restart forgets it." : `${registry.home} cannot be relied on: nobody is evicted.`, !registry.up],
    ["Waiting", overview.queued ? `${plural(overview.queued, "registration")} in the queue.` : "No registration waits.", false],
    ["Replicas", overview.replicas.length > 1 ? overview.replicas.join(", ") : `${overview.replica}, alone.`, false],
    ["Version", `${overview.version}, up for ${overview.uptime_seconds ? span(overview.uptime_seconds) : "less than a minute"}.`, overview.status !== "ok"],
  ];
  show(at("signs"), [rows.map(([term, text]) => [term, [text].flat().map(String)]), fuse, budget], () => rows.flatMap(([term, text, isBad]) => [
    h("dt", {}, term),
    h("dd", { class: isBad ? "bad" : null }, text),
  ]));
}

export function policy({ policy, limit }) {
  const rows = [
    ["Order", policy.order.join(", then ")],
    ["Limit", plural(limit, "user")],
    ["At most", `${plural(policy.max_per_registration, "eviction")} for one registration`],
    ["Kept by name", policy.protect.length ? policy.protect.join(", ") : "nobody"],
    ["Kept while young", policy.min_age_seconds ? `under ${span(policy.min_age_seconds)}` : "no"],
    ["Kept while active", policy.active_within_seconds ? `within ${span(policy.active_within_seconds)}` : "no"],
  ];
  if (policy.evictable.join() !== "*") rows.push(["Only", policy.evictable.join(", ")]);
  show(at("policy"), rows, () => rows.flatMap(([term, text]) => [h("dt", {}, term), h("dd", {}, text)]));
}
