#!/usr/bin/env node
// Finds the program in the package of this platform, and becomes it.
"use strict";

const { spawn } = require("node:child_process");
const { constants } = require("node:os");

const NAME = "snaptrade-sidecar";

function program() {
  const platform = `@${NAME}/${process.platform}-${process.arch}`;
  // Only those that fit this machine's C library are installed.
  for (const name of [platform, `${platform}-musl`]) {
    try {
      return require.resolve(`${name}/bin/${NAME}`);
    } catch (error) {
      if (error.code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  console.error(
    `error: ${platform} is not installed; it is an optional dependency of ${NAME}: ` +
      "install without --omit=optional, on the platform on which it is to run",
  );
  process.exit(1);
}

// From Node 22.15 on, the process becomes the program: the same process id, so that signals, exit status and the end by
// SIGKILL are the program's own, and no Node stays in memory.
function become(file) {
  process.execve(file, [file, ...process.argv.slice(2)], process.env);
}

// Before that, a child, with this process in between. What cannot be passed on is SIGKILL.
function supervise(file) {
  const child = spawn(file, process.argv.slice(2), { stdio: "inherit" });
  // SIGUSR1 is Node's own: it begins to debug.
  const signals = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR2", "SIGWINCH"];
  // On a terminal Ctrl-C and the like reach the child by themselves.
  const byTerminal = process.stdin.isTTY ? ["SIGINT", "SIGQUIT", "SIGWINCH"] : [];
  for (const signal of signals) {
    process.on(signal, () => {
      if (!byTerminal.includes(signal)) child.kill(signal);
    });
  }
  child.on("error", (error) => {
    console.error(`error: cannot start ${file}: ${error.message}`);
    process.exit(126);
  });
  child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
}

if (process.execve) become(program());
else supervise(program());
