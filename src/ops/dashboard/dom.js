// Elements, and what stands in them. Text is only ever set as text.

// h("p", { class: "x", onclick }, "text", child…): attributes, or what begins with "on": listeners.
export function h(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

export const at = (id) => document.getElementById(id);

const shown = new WeakMap();

// Puts into a place what `draw` makes of `data`, if that is not what it shows already, and keeps the keyboard's focus where it
// was: on the element with the same data-key.
export function show(place, data, draw) {
  // What is not known yet (undefined) is something else than what is not there (null).
  const text = JSON.stringify([data], (_, value) => value === undefined ? "undefined" : value);
  if (shown.get(place) === text) return;
  shown.set(place, text);
  const key = place.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  place.replaceChildren(...[draw(data)].flat(Infinity).filter((child) => child !== null));
  if (key !== undefined) place.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

// So that it is drawn anew although its data are the same.
export const forget = (place) => shown.delete(place);

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

// A length of time, in its largest unit: "3 min".
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "unknown";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  const [unit, length] = UNITS.find(([, length]) => seconds >= length);
  const count = seconds / length;
  return `${count < 10 && unit !== "s" ? Math.round(count * 10) / 10 : Math.round(count)} ${unit}`;
}

export function ago(time) {
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  if (seconds < 0) return Math.abs(seconds) < 5 ? "just now" : `in ${span(-seconds)}`;
  return seconds < 5 ? "just now" : `${span(seconds)} ago`;
}

// A time as how long ago it was; the time itself on hovering. What is not known is said so.
export function when(time, unknown = "unknown") {
  if (!time) return h("span", { class: "faint" }, unknown);
  return h("time", { datetime: time, title: new Date(time).toLocaleString() }, ago(time));
}

// What the sidecar said, with its times as how long ago they were.
export const worded = (text) => text.split(/(\d{4}-\d\d-\d\dT[\d:.]+Z)/).map((part, place) => place % 2 ? when(part) : part);

// The times on the page grow old.
export function age() {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const text = ago(element.dateTime);
    if (element.textContent !== text) element.textContent = text;
  }
}

let leaving;

// What became of something that somebody did.
export function say(text, isBad = false) {
  const place = at("said");
  place.textContent = text;
  place.className = isBad ? "bad" : "";
  clearTimeout(leaving);
  leaving = setTimeout(() => { place.textContent = ""; }, isBad ? 15000 : 6000);
}

export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString()} ${count === 1 ? one : many}`;
