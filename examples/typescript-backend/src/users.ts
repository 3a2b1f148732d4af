// The users that this backend registered, with their secrets, in a file of JSON that is replaced as a whole. Enough for one
// process and some thousands of users; past that, take a database.
//
// A secret is as good as the user's password at SnapTrade: the file is its owner's alone.

import { readFileSync, renameSync, writeFileSync } from "node:fs";

interface User {
  secret: string;
  registeredAt: number;
}

export class Users {
  readonly #path: string;
  readonly #users: Map<string, User>;

  constructor(path: string) {
    this.#path = path;
    this.#users = new Map(read(path));
  }

  // SnapTrade shows a secret once. A user of that id from before is gone, or it would not have been made.
  add(id: string, secret: string): void {
    this.#users.delete(id);
    this.#users.set(id, { secret, registeredAt: Date.now() });
    this.#write();
  }

  // Does nothing for a user that was registered again since: that one is not meant. So it can be said twice.
  forget(id: string, registeredBefore: number): void {
    const user = this.#users.get(id);
    if (user === undefined || user.registeredAt >= registeredBefore) return;
    this.#users.delete(id);
    this.#write();
  }

  secret(id: string): string | undefined {
    return this.#users.get(id)?.secret;
  }

  // Everybody, without secrets, oldest first.
  all(): { user_id: string; registered_at: number }[] {
    return [...this.#users].map(([id, user]) => ({ user_id: id, registered_at: user.registeredAt / 1000 }));
  }

  // Written aside and then put in place, so that a crash leaves the file before or the one after.
  #write(): void {
    const aside = `${this.#path}.new`;
    writeFileSync(aside, JSON.stringify([...this.#users]), { mode: 0o600, flush: true });
    renameSync(aside, this.#path);
  }
}

function read(path: string): [string, User][] {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
