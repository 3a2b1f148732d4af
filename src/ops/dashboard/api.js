// The sidecar's ops API. The token lives as long as the tab.

const KEY = "snaptrade-sidecar-token";

export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  clear: () => sessionStorage.removeItem(KEY),
};

// What the sidecar refused, in its words.
export class Refused extends Error {
  constructor(status, body) {
    super(body.detail ?? `The sidecar answered with ${status}.`);
    this.status = status;
    this.code = body.code;
  }
}

export async function call(method, path, options = {}) {
  const headers = { accept: "application/json", ...options.headers };
  const given = options.token ?? token.get();
  if (given) headers.authorization = `Bearer ${given}`;
  let response;
  try {
    response = await fetch(path, { method, headers, signal: options.signal, cache: "no-store" });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Refused(0, { detail: "The sidecar cannot be reached." });
  }
  if (!response.ok) throw new Refused(response.status, await response.json().catch(() => ({})));
  return response;
}

export const get = async (path, options) => (await call("GET", path, options)).json();
export const post = async (path) => (await call("POST", path)).json();

export const ofTenant = (name, rest = "") => `api/tenants/${encodeURIComponent(name)}${rest}`;
export const ofUser = (name, user, action) => ofTenant(name, `/users/${encodeURIComponent(user)}/${action}`);
