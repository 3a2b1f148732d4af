// A plain backend, as a start command names it. Of the sidecar it knows its base URL.
"use strict";

const http = require("node:http");
const { Snaptrade, SnaptradeAuth } = require("snaptrade-typescript-sdk");

const { SNAPTRADE_CLIENT_ID: clientId, SNAPTRADE_CONSUMER_KEY: consumerKey } = process.env;
const auth = SnaptradeAuth.commercialApiKey({ clientId, consumerKey });
const snaptrade = new Snaptrade({ auth, basePath: process.env.SNAPTRADE_API_HOST });

const server = http.createServer(async (request, reply) => {
  const userId = request.url.split("/").pop();
  const { data } = await snaptrade.authentication.registerSnapTradeUser({ userId });
  reply.end(JSON.stringify({ user_id: data.userId, has_secret: Boolean(data.userSecret) }));
});
server.listen(Number(process.env.PORT), "127.0.0.1", () => {
  console.error(`Node ${process.version} running on http://127.0.0.1:${server.address().port} (Press CTRL+C to quit)`);
});
// As an application does that ends well.
process.on("SIGTERM", () => server.close());
