// The users in the order of eviction, and what was decided.

import { at, h, plural, show, when, worded } from "./dom.js";
import { connectionsOf } from "./panels.js";

export function users(answer, search, actions) {
  show(at("users"), [answer, search], () => {
    if (!answer) return h("p", { class: "faint" }, "Not known yet.");
    if (answer.count === 0) return h("p", { class: "empty" }, "No users yet. The first registration will stand here.");
    if (answer.users.length === 0) return h("p", { class: "empty" }, `No user's id has “${search}” in it.`);
    const more = answer.matching - answer.users.length;
    return [
      h("div", { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "roster-title" },
        h("table", {},
          h("thead", {}, h("tr", {}, ["Place", "User", "Why there", "Registered", "Last active", "Connections", ""]
            .map((title) => title ? h("th", { scope: "col" }, title) : h("td", {}, h("span", { class: "hidden" }, "Actions"))))),
          h("tbody", {}, answer.users.map((user) => row(user, actions))))),
      h("p", { class: "faint" }, more > 0 ? `${plural(more, "more user")}; find them by their id.` : null,
        " Counted ", when(answer.counted_at), "."),
    ];
  });
}

function row(user, actions) {
  return h("tr", { class: user.evictable ? (user.place === 1 ? "first" : null) : "kept" },
    h("td", { "data-label": "Place" }, user.place === 1 ? h("span", { class: "next" }, "1 next") : user.place ?? "kept"),
    h("th", { scope: "row" }, user.user_id),
    h("td", { "data-label": "Why there" }, worded(user.why)),
    h("td", { "data-label": "Registered" }, when(user.registered_at)),
    h("td", { "data-label": "Last active" }, when(user.last_active, "never seen")),
    h("td", { "data-label": "Connections" }, connectionsOf(user.connections)),
    h("td", { class: "actions" }, actions(user)));
}

const OUTCOMES = {
  evicted: ["evicted", "bad"],
  refused: ["not deleted: SnapTrade refused", "watch"],
  unsettled: ["sent, and still listed", "watch"],
  withdrawn: ["not sent after all", "watch"],
};

// Of an intent and its outcome one line, of the rest one each.
export function timeline(entries) {
  show(at("timeline"), entries, () => {
    if (!entries) return h("p", { class: "faint" }, "Not known yet.");
    const intents = new Map(entries.filter((entry) => entry.event === "intent").map((entry) => [entry.id, entry]));
    const settled = new Set(entries.filter((entry) => entry.event === "outcome").map((entry) => entry.intent));
    const lines = entries.filter((entry) => !(entry.event === "intent" && settled.has(entry.id)));
    if (lines.length === 0) return h("p", { class: "empty" }, "Nobody was evicted yet.");
    return h("ol", { class: "timeline", tabindex: 0, "aria-labelledby": "timeline-title" }, lines.map((entry) => line(entry, intents.get(entry.intent) ?? entry)));
  });
}

function line(entry, intent) {
  const who = entry.user_id ?? intent.user_id;
  const name = who ? h("strong", {}, who) : null;
  const forWhom = intent.newcomer ? [" for ", h("strong", {}, intent.newcomer)] : [];
  const why = intent.reason ?? entry.reason;
  const because = why ? h("span", { class: "why" }, worded(why)) : null;
  const told = () => {
    switch (entry.event) {
      case "outcome": {
        const [words, tone] = OUTCOMES[entry.outcome] ?? [entry.outcome, "watch"];
        return [tone, [name, ` ${words}`, forWhom]];
      }
      case "intent": return ["watch", [name, " is being deleted", forWhom]];
      case "would-evict": return ["watch", [name, " would have been evicted", forWhom]];
      case "refusal": return ["watch", ["No room was made", entry.newcomer ? [" for ", h("strong", {}, entry.newcomer)] : []]];
      case "manual": return ["plain", ["By hand: ", entry.outcome, name ? [" ", name] : []]];
      case "departure": return ["plain", [name, entry.outcome === "deleted" ? " was deleted by the application" : " is gone from SnapTrade's list"]];
      default: return ["plain", [entry.event]];
    }
  };
  const [tone, words] = told();
  return h("li", { class: tone }, h("span", { class: "words" }, words.flat(3).filter(Boolean)), because, when(entry.at));
}
