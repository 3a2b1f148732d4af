// A backend that registers its users at SnapTrade and forgets those who were evicted.
//
// It neither counts users nor deletes any: the sidecar does, behind the base URL. There is no sign-in here. In yours, the user
// id is that of whoever is signed in, never one that the browser names.

import { createServer, type IncomingMessage } from "node:http";
import { buffer } from "node:stream/consumers";
import { Snaptrade, SnaptradeAuth, SnaptradeError } from "snaptrade-typescript-sdk";

import { evictedBy, isGenuine } from "./notices.js";
import { Users } from "./users.js";

const { env } = process;
const HOST = env.HOST ?? "127.0.0.1";
const PORT = Number(env.PORT ?? 8000);
const FRONTEND_URL = env.FRONTEND_URL ?? "http://127.0.0.1:8000";
const NOTICE_SECRET = env.NOTICE_SECRET ?? "";
// What the key allows. SnapTrade does not tell, and nothing rests on it.
const MAX_USERS = Number(env.SNAPTRADE_MAX_USERS ?? 5);
// SnapTrade's codes for a user that it has already, and for one that it does not have, or with another secret.
const USER_EXISTS = "1010";
const UNKNOWN_USER = "1083";

const snaptrade = new Snaptrade({
  auth: SnaptradeAuth.commercialApiKey({
    clientId: env.SNAPTRADE_CLIENT_ID ?? "",
    consumerKey: env.SNAPTRADE_CONSUMER_KEY ?? "",
  }),
  // All that registering needs of the sidecar: its address in place of SnapTrade's.
  basePath: env.SNAPTRADE_API_HOST ?? "https://api.snaptrade.com",
});
const users = new Users(env.DATABASE ?? "users.json");

// An answer that is no success.
class Refusal extends Error {
  constructor(readonly status: number, detail: string) {
    super(detail);
  }
}

type Answer = { status: number; body?: unknown };
type Handler = (body: Buffer, headers: IncomingMessage["headers"]) => Promise<Answer>;

const routes: Record<string, Handler> = {
  // An error of the SDK has no headers. Of a registration that failed after room was made for it, the notice tells.
  "POST /api/snaptrade/register": async (body) => {
    const userId = userIdIn(body);
    const askedAt = Date.now();
    const reply = await snaptrade.authentication.registerSnapTradeUser({ userId }).catch((error: unknown) => {
      if (codeOf(error) !== USER_EXISTS) throw error;
      throw new Refusal(409, `${userId} is registered already.`);
    });
    // The secret stays here: with it, anybody who has the key acts as this user.
    users.add(userId, reply.data.userSecret ?? "");
    const evicted = evictedBy(reply.headers);
    // Whoever was registered while this was under way may be a new user of the same id.
    for (const id of evicted) users.forget(id, askedAt);
    return { status: 201, body: { user_id: userId, evicted } };
  },

  // What the sidecar tells of an eviction, whoever's registration it was for. It may come twice, and late.
  "POST /api/snaptrade/evicted": async (body, headers) => {
    if (!isGenuine(headers, body, NOTICE_SECRET)) {
      throw new Refusal(401, "This notice is not signed with the secret that is shared with the sidecar.");
    }
    const notice = JSON.parse(body.toString());
    users.forget(notice.user_id, Date.parse(notice.at));
    return { status: 204 };
  },

  "GET /api/snaptrade/status": async () => {
    const { data: listed } = await snaptrade.authentication.listSnapTradeUsers();
    // A user whose deletion is under way is listed as `<id>_deleted` for a while.
    return { status: 200, body: { users: listed.filter((id) => !id.endsWith("_deleted")).length, limit: MAX_USERS } };
  },

  // A link to the Connection Portal. It works for 5 minutes, and for whoever has it.
  "POST /api/snaptrade/login": async (body) => {
    const userId = userIdIn(body);
    const userSecret = users.secret(userId);
    if (userSecret === undefined) throw new Refusal(404, `${userId} is not registered.`);
    const askedAt = Date.now();
    try {
      const link = { userId, userSecret, customRedirect: FRONTEND_URL };
      const { data } = await snaptrade.authentication.loginSnapTradeUser(link);
      return { status: 200, body: { redirect_uri: "redirectURI" in data ? data.redirectURI : undefined } };
    } catch (error) {
      if (codeOf(error) !== UNKNOWN_USER) throw error;
      // Evicted, and no notice came, as while this backend was down.
      users.forget(userId, askedAt);
      throw new Refusal(404, `SnapTrade does not know ${userId} any more. Register again.`);
    }
  },

  "GET /api/users": async () => ({ status: 200, body: users.all() }),
};

function userIdIn(body: Buffer): string {
  const userId: unknown = JSON.parse(body.toString())?.user_id;
  if (typeof userId !== "string" || userId === "" || userId.length > 100) {
    throw new Refusal(422, "A user id has 1 to 100 characters.");
  }
  return userId;
}

// The body of a refusal, the sidecar's own included; of what stands between, it may be anything.
function told(error: SnaptradeError): { code?: string; detail?: string } {
  const body = error.responseBody;
  return typeof body === "object" && body !== null ? body : {};
}

function codeOf(error: unknown): string | undefined {
  return error instanceof SnaptradeError ? told(error).code : undefined;
}

function refused(error: unknown): Answer {
  if (error instanceof Refusal) return { status: error.status, body: { detail: error.message } };
  if (error instanceof SyntaxError) return { status: 400, body: { detail: "The body is not JSON." } };
  if (!(error instanceof SnaptradeError)) throw error;
  // A 401 is about this backend's key, not about who calls this backend. Without a status, nobody answered.
  const status = error.status === undefined || error.status === 401 ? 502 : error.status;
  return { status, body: { detail: told(error).detail ?? "There is no answer from SnapTrade." } };
}

async function answer(request: IncomingMessage): Promise<Answer> {
  if (request.method === "OPTIONS") return { status: 204 };
  const handler = routes[`${request.method} ${request.url?.split("?")[0]}`];
  if (handler === undefined) return { status: 404, body: { detail: "There is no such call." } };
  return handler(await buffer(request), request.headers).catch(refused);
}

const server = createServer((request, response) => {
  answer(request)
    .catch((error: unknown) => {
      console.error(error);
      return { status: 500, body: { detail: "The backend failed." } };
    })
    .then(({ status, body }) => {
      response.writeHead(status, {
        "Content-Type": "application/json",
        "Access-Control-Allow-Origin": FRONTEND_URL,
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": "Content-Type",
      });
      response.end(body === undefined ? undefined : JSON.stringify(body));
    });
});

server.listen(PORT, HOST, () => console.log(`listening on http://${HOST}:${PORT}`));
