// What the backend stores and what SnapTrade counts, and the two things that can be done: register, and open the
// Connection Portal. The page never sees a user's secret.

// How often to look whether somebody was evicted meanwhile. That asks the backend alone; SnapTrade counts calls.
const LOOK_MS = 2000;

// Older news are forgotten.
const NEWS_MAX = 20;

const at = (id) => document.getElementById(id);
const made = (name, text, more = {}) => Object.assign(document.createElement(name), { textContent: text }, more);

async function ask(method, path, body) {
  const request = { method, headers: { "Content-Type": "application/json" }, body: body && JSON.stringify(body) };
  const reply = await fetch(path, request).catch(() => {
    throw new Error("The backend does not answer. Is it running?");
  });
  const answer = await reply.json().catch(() => ({}));
  if (reply.ok) return answer;
  // Of what it cannot read, the backend tells as a list.
  if (typeof answer.detail === "string") throw new Error(answer.detail);
  throw new Error(reply.status === 422 ? "A user id has 1 to 100 characters." : `The backend failed (${reply.status}).`);
}

// What goes wrong in an action of the user's is told where it was asked for.
async function attempt(action) {
  at("error").textContent = "";
  try {
    await action();
  } catch (error) {
    at("error").textContent = error.message;
  }
}

function tell(text) {
  at("news").prepend(made("li", text));
  at("news").children[NEWS_MAX]?.remove();
}

async function showCount() {
  at("count").textContent = "…";
  try {
    const { users, limit } = await ask("GET", "api/snaptrade/status");
    at("count").textContent = `${users} of ${limit} users`;
    at("slots").replaceChildren(
      ...Array.from({ length: limit }, (_, place) => made("i", "", { className: place < users ? "used" : "" })),
    );
  } catch (error) {
    at("count").textContent = error.message;
  }
}

// Rows of users who stay are kept, so that a button under the keyboard keeps its focus.
const rows = new Map();

function row({ user_id: id, registered_at: seconds }) {
  const open = made("button", "Connect a brokerage");
  open.setAttribute("aria-label", `Connect a brokerage for ${id}`);
  open.addEventListener("click", () => attempt(async () => {
    const { redirect_uri: portal } = await ask("POST", "api/snaptrade/login", { user_id: id });
    location.assign(portal);
  }));
  const since = new Date(seconds * 1000);
  const item = made("li", "");
  item.append(
    made("strong", id),
    made("time", since.toLocaleTimeString(), { dateTime: since.toISOString() }),
    open,
  );
  return item;
}

async function showUsers() {
  const users = await ask("GET", "api/users");
  const stored = new Set(users.map((user) => user.user_id));
  for (const [id, item] of rows) {
    if (stored.has(id)) continue;
    item.remove();
    rows.delete(id);
    tell(`${id} was evicted; the secret is gone from here.`);
  }
  for (const user of users) {
    if (rows.has(user.user_id)) continue;
    rows.set(user.user_id, row(user));
    at("users").append(rows.get(user.user_id));
  }
  at("nobody").hidden = stored.size > 0;
}

// One look at a time: an older answer would bring back who is gone.
let looking = Promise.resolve();
const look = () => (looking = looking.catch(() => {}).then(showUsers));

at("register").addEventListener("submit", (event) => {
  event.preventDefault();
  const button = event.submitter;
  button.disabled = true;
  attempt(async () => {
    const id = at("user-id").value;
    await ask("POST", "api/snaptrade/register", { user_id: id });
    tell(`${id} was registered.`);
    event.target.reset();
    at("user-id").focus();
    await Promise.all([look(), showCount()]);
  }).finally(() => {
    button.disabled = false;
  });
});

attempt(() => Promise.all([look(), showCount()]));
setInterval(() => {
  // What is wrong shows when something is done; the next look tries again.
  if (!document.hidden) look().catch(() => {});
}, LOOK_MS);
