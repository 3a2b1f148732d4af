// The official TypeScript SDK, driven by lines of JSON: a call on stdin, what came of it on stdout.
// Arguments: base URL, client id, consumer key.
"use strict";

const readline = require("node:readline");
const axios = require("axios");
const { Snaptrade, SnaptradeAuth, SnaptradeError } = require("snaptrade-typescript-sdk");

const [basePath, clientId, consumerKey] = process.argv.slice(2);
const client = new Snaptrade({ auth: SnaptradeAuth.commercialApiKey({ clientId, consumerKey }), basePath });

// The SDK's error holds only the JSON that it read in the reply, and neither its text nor its headers; the
// library beneath it is told to keep both.
let raw;
let headers;
const keep = (text, replyHeaders) => {
  raw = text;
  headers = Object.fromEntries(Object.entries(replyHeaders));
  return text;
};
axios.defaults.transformResponse = [keep].concat(axios.defaults.transformResponse);

const calls = {
  status: () => client.apiStatus.check(),
  list: () => client.authentication.listSnapTradeUsers(),
  register: ({ user_id: userId }) => client.authentication.registerSnapTradeUser({ userId }),
  delete: ({ user_id: userId }) => client.authentication.deleteSnapTradeUser({ userId }),
};

async function answer(call) {
  let seen;
  try {
    const { status, data } = await calls[call.call](call);
    seen = { failed: false, status, body: data };
  } catch (error) {
    if (!(error instanceof SnaptradeError)) throw error;
    seen = { failed: true, status: error.status, body: error.responseBody };
  }
  return { ...seen, raw: Buffer.from(raw, "utf8").toString("base64"), headers };
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line)))}\n`);
  }
}

main();
