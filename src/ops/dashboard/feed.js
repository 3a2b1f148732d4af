// The live feed: server-sent events, read by fetch, since an EventSource cannot send a token.

import { call } from "./api.js";

// The sidecar says something every 5 s at the least.
const SILENCE_MAX = 12000;
const PAUSE_MIN = 500;
const PAUSE_MAX = 10000;

// Follows the feed until the returned function is called. `onEvent(name, data)`; `onState("live" | "lost" | "refused", error)`.
export function follow(path, onEvent, onState) {
  const over = new AbortController();
  run(path, onEvent, onState, over.signal);
  return () => over.abort();
}

async function run(path, onEvent, onState, over) {
  let pause = PAUSE_MIN;
  while (!over.aborted) {
    let wasWell = false;
    try {
      await listen(path, over, (name, data) => {
        pause = PAUSE_MIN;
        wasWell = true;
        onState("live");
        if (name !== "ping") onEvent(name, data);
      });
    } catch (error) {
      wasWell = false;
      if (over.aborted) return;
      if (error.status === 401 || error.status === 403) return onState("refused", error);
    }
    if (over.aborted) return;
    // The sidecar ends each feed after a while; one that was well till then is begun anew at once, and nothing is lost.
    if (wasWell) continue;
    onState("lost");
    await waited(pause, over);
    pause = Math.min(pause * 2, PAUSE_MAX);
  }
}

async function listen(path, over, onEvent) {
  const silent = new AbortController();
  const signal = AbortSignal.any([over, silent.signal]);
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silent.abort(), SILENCE_MAX);
  };
  heard();
  try {
    const response = await call("GET", path, { signal, headers: { accept: "text/event-stream" } });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      text += value;
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) deliver(event, onEvent);
    }
  } finally {
    clearTimeout(timer);
  }
}

function deliver(text, onEvent) {
  let name = "message";
  const data = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  onEvent(data.length ? name : "ping", data.length ? JSON.parse(data.join("\n")) : undefined);
}

const waited = (time, over) => new Promise((resolve) => {
  const timer = setTimeout(resolve, time);
  over.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
});
