// How the sidecar tells of an eviction: by a signed notice (docs/notices.md), and in the reply to the registration.

import { createHmac, timingSafeEqual } from "node:crypto";

// Whom the sidecar deleted; and whose deletion was sent but does not show, so that the user may still go.
const EVICTED = ["snaptrade-sidecar-evicted", "snaptrade-sidecar-unsettled"];

// A notice that is older cannot be one that was just sent.
const AGE_SECONDS_MAX = 300;

type Headers = Record<string, unknown>;

// Without a secret, nothing is: anybody could sign with that.
export function isGenuine(headers: Headers, body: Buffer, secret: string): boolean {
  const timestamp = String(headers["snaptrade-sidecar-timestamp"]);
  const given = Buffer.from(String(headers["snaptrade-sidecar-signature"]));
  const hmac = createHmac("sha256", secret).update(`${timestamp}.`).update(body);
  const signature = Buffer.from(`sha256=${hmac.digest("hex")}`);
  const isSigned = secret !== "" && given.length === signature.length && timingSafeEqual(given, signature);
  return isSigned && Math.abs(Date.now() / 1000 - Number(timestamp)) <= AGE_SECONDS_MAX;
}

// Whom a registration's reply says to forget.
export function evictedBy(headers: Headers): string[] {
  const named = EVICTED.flatMap((name) => String(headers[name] ?? "").split(","));
  return named.map((id) => decodeURIComponent(id.trim())).filter((id) => id !== "");
}
