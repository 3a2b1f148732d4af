// The page: what it asks, when, and what the buttons do.

import { Refused, call, get, ofTenant, ofUser, post, token } from "./api.js";
import * as charts from "./charts.js";
import { age, at, h, say, show } from "./dom.js";
import { follow } from "./feed.js";
import * as panels from "./panels.js";
import * as roster from "./roster.js";

const ROWS = 50;
const ENTRIES = 40;
// The list may change past the sidecar; each look is a call to SnapTrade, so that a page nobody sees takes none.
const LOOK_AGAIN = 60000;

const state = { tenant: null, window: "24h", overview: null, users: null, next: undefined, entries: null, analytics: null };
let leave = () => {};

function draw() {
  const { overview } = state;
  if (!overview) return;
  panels.glance(overview, state.next);
  panels.next(state.next, overview, actions);
  panels.signs(overview);
  panels.policy(overview);
  roster.users(state.users, at("find").value.trim(), actions);
  roster.timeline(state.entries);
  charts.past(state.analytics, state.tenant);
  show(at("by-hand"), [overview.paused, overview.may_change], () => overview.may_change
    ? button(overview.paused ? "Resume" : "Pause", "pause", () => act(overview.paused ? "resume" : "pause"))
    : null);
  const signIn = at("sign-in");
  signIn.hidden = !overview.token_configured;
  signIn.textContent = token.get() ? "Sign out" : "Sign in";
}

// Of the buttons that say the same, each says to those who do not see where it stands whom it is for.
const button = (text, key, onclick, kind, user) =>
  h("button", { type: "button", class: kind, "data-key": key, onclick }, text, user === undefined ? null : h("span", { class: "hidden" }, ` ${user}`));

function actions(user) {
  if (!state.overview?.may_change) return [];
  const id = user.user_id;
  const protect = user.protected_by_hand
    ? button("Unprotect", `unprotect ${id}`, () => act("unprotect", id), null, id)
    : button("Protect", `protect ${id}`, () => act("protect", id), null, id);
  return [protect, button("Evict…", `evict ${id}`, () => askToEvict(id), "danger", id)];
}

const DONE = {
  pause: () => "Paused: registrations are forwarded as they come.",
  resume: () => "Resumed: registrations are managed again.",
  protect: (user) => `${user} is kept until unprotected.`,
  unprotect: (user) => `${user} can be evicted again.`,
  evict: (user, { outcome }) => outcome === "evicted" ? `${user} was evicted.` : `${user}: the deletion was sent, and the user is still listed.`,
};

async function act(action, user) {
  try {
    const path = user === undefined ? ofTenant(state.tenant, `/${action}`) : ofUser(state.tenant, user, action);
    const answer = await post(path);
    say([DONE[action](user, answer), answer.note].filter(Boolean).join(" "));
    await Promise.all([askUsers(), askEntries()]);
    return true;
  } catch (error) {
    refused(error);
    return error;
  }
}

function refused(error) {
  if (!(error instanceof Refused)) throw error;
  if (error.status === 401) unknown(error);
  else say(error.message, true);
}

const WHY_TOKEN = "Who the users are is shown to those only who have the sidecar's token, ops.token in its configuration. It is kept in this tab only.";

// A token that is not the sidecar's, or no longer, is not sent again: each time counts as an attempt to guess it.
function unknown(error) {
  const isWrong = error.code === "sidecar_token_wrong";
  if (isWrong) token.clear();
  if (!state.overview) at("headline").textContent = "Not signed in";
  draw();
  askToken(isWrong ? "The token that this tab had is not, or no longer, the sidecar's." : WHY_TOKEN);
}

// Each asks for a part of the page; an error stands where the part would.
async function asked(ask, key) {
  const tenant = state.tenant;
  try {
    const answer = await ask();
    if (tenant !== state.tenant) return;
    state[key] = answer;
  } catch (error) {
    refused(error);
  }
  draw();
}

const askUsers = () => asked(async () => {
  const search = at("find").value.trim();
  const query = new URLSearchParams({ limit: ROWS, ...(search ? { search } : {}) });
  const answer = await get(ofTenant(state.tenant, `/users?${query}`));
  // Of a search's users the first need not be the first of all. The list is the same, so that SnapTrade is not asked again.
  const next = search ? (await get(ofTenant(state.tenant, "/next"))).next : answer.users.find((user) => user.evictable);
  state.next = next ?? null;
  return answer;
}, "users");
const askEntries = () => asked(async () => (await get(ofTenant(state.tenant, `/evictions?limit=${ENTRIES}`))).entries, "entries");
const askPast = () => asked(() => get(ofTenant(state.tenant, `/analytics?window=${state.window}`)), "analytics");

function askAll() {
  return Promise.all([askUsers(), askEntries(), askPast()]);
}

function onOverview(overview) {
  const before = state.overview;
  state.overview = overview;
  draw();
  const isNews = !before || before.tenant !== overview.tenant || before.journal !== overview.journal
    || before.users !== overview.users || before.pending_deletions !== overview.pending_deletions;
  if (isNews && !document.hidden) askAll();
}

function onState(name, error) {
  const live = at("live");
  live.className = name;
  const words = { live: "Live", lost: "Not live: reconnecting…", refused: "Not live" }[name];
  if (live.textContent !== words) live.textContent = words;
  document.body.classList.toggle("stale", name !== "live");
  if (name === "refused") {
    refused(error);
  }
}

function watch() {
  leave();
  leave = follow(`api/events?tenant=${encodeURIComponent(state.tenant)}`, (_, overview) => onOverview(overview), onState);
}

async function begin() {
  const summary = await get(".").catch(() => null);
  if (!summary) {
    onState("lost");
    setTimeout(begin, 2000);
    return;
  }
  const names = summary.tenants.map((tenant) => tenant.name);
  const wanted = new URLSearchParams(location.search).get("tenant");
  choose(names.includes(wanted) ? wanted : names[0], names);
  tenants(summary.tenants);
}

function choose(name, names) {
  Object.assign(state, { tenant: name, overview: null, users: null, next: undefined, entries: null, analytics: null });
  if (names) {
    at("tenant-choice").hidden = names.length < 2;
    at("tenant").replaceChildren(...names.map((one) => h("option", { value: one }, one)));
  }
  at("tenant").value = name;
  document.title = `${name} – snaptrade-sidecar`;
  watch();
}

function tenants(all) {
  at("tenants-section").hidden = all.length < 2;
  if (all.length < 2) return;
  show(at("tenants"), all, () => h("div", { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "tenants-title" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Tenant", "Users", "Limit", "Mode", "Waiting", "Evictions"].map((title) => h("th", { scope: "col" }, title)))),
    h("tbody", {}, all.map((one) => h("tr", {},
      h("th", { scope: "row" }, h("a", { href: `?tenant=${encodeURIComponent(one.name)}` }, one.name)),
      h("td", {}, one.users ?? "–"), h("td", {}, one.max_users), h("td", {}, one.paused ? "paused" : one.mode),
      h("td", {}, one.queued), h("td", {}, one.evictions)))))));
}

function askToken(why) {
  const dialog = at("token-dialog");
  at("token-why").textContent = why;
  if (!dialog.open) dialog.showModal();
}

at("token-dialog").querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const given = at("token").value.trim();
  try {
    await get(ofTenant(state.tenant, "/evictions?limit=1"), { token: given });
  } catch (error) {
    at("token-error").textContent = error.message;
    return;
  }
  token.set(given);
  at("token").value = "";
  at("token-error").textContent = "";
  at("token-dialog").close();
  watch();
});

let victim;

function askToEvict(user) {
  victim = user;
  at("evict-who").textContent = user;
  at("evict-id").value = "";
  at("evict-error").textContent = "";
  at("evict-dialog").querySelector("[type=submit]").disabled = true;
  at("evict-dialog").showModal();
}

at("evict-id").addEventListener("input", () => {
  at("evict-dialog").querySelector("[type=submit]").disabled = at("evict-id").value !== victim;
});
at("evict-dialog").querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (at("evict-id").value !== victim) return;
  const submit = at("evict-dialog").querySelector("[type=submit]");
  submit.disabled = true;
  const done = await act("evict", victim);
  submit.disabled = false;
  if (done === true) at("evict-dialog").close();
  else at("evict-error").textContent = done.message;
});
for (const cancel of document.querySelectorAll("dialog .cancel")) {
  cancel.addEventListener("click", () => cancel.closest("dialog").close());
}

at("sign-in").addEventListener("click", () => {
  if (token.get()) {
    token.clear();
    location.reload();
  } else askToken(WHY_TOKEN);
});
at("tenant").addEventListener("change", () => {
  history.replaceState(null, "", `?tenant=${encodeURIComponent(at("tenant").value)}`);
  choose(at("tenant").value);
});
at("search").addEventListener("submit", (event) => event.preventDefault());
let typing;
at("find").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(askUsers, 250);
});
at("count").addEventListener("click", askUsers);
for (const choice of document.querySelectorAll("[data-window]")) {
  choice.addEventListener("click", () => {
    for (const other of document.querySelectorAll("[data-window]")) other.setAttribute("aria-pressed", other === choice);
    state.window = choice.dataset.window;
    askPast();
  });
}
at("export").addEventListener("click", async (event) => {
  const format = event.target.dataset.export;
  if (!format) return;
  event.preventDefault();
  try {
    const response = await call("GET", ofTenant(state.tenant, `/journal?format=${format}`));
    const link = h("a", { href: URL.createObjectURL(await response.blob()), download: `${state.tenant}-journal.${format}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  } catch (error) {
    refused(error);
  }
});
document.addEventListener("visibilitychange", () => { if (!document.hidden && state.overview) askAll(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { charts.redraw(); draw(); });
let resizing;
addEventListener("resize", () => {
  clearTimeout(resizing);
  resizing = setTimeout(draw, 150);
});
setInterval(age, 1000);
setInterval(() => { if (!document.hidden && state.overview && !document.body.classList.contains("stale")) askAll(); }, LOOK_AGAIN);
begin();
