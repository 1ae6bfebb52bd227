/** The HTTP API of the server that this page came from. The token is kept in this variable and nowhere else. */
import { capital } from "./element.js";

let token = "";

const TRIES = 5;
const LONGEST_WAIT = 30; // seconds

/** An answer that is no success, or none; its message is a sentence for people. */
export class Refused extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

export function useToken(given) {
  token = given;
}

/**
 * The JSON that `path` answers: to GET, or with `form` (FormData) to POST. While the server is full (429) it is asked
 * again, after as long as it says and each time a little longer; `waiting` is called with a sentence about that.
 * Throws Refused, or AbortError.
 */
export async function ask(path, { form, signal, waiting = () => {} } = {}) {
  for (let attempt = 1; ; attempt++) {
    const answer = await send(path, form, signal);
    if (answer.ok) return answer.json();
    if (answer.status !== 429 || attempt === TRIES) throw await refusal(answer);
    const seconds = Math.min(attempt * (Number(answer.headers.get("Retry-After")) || 1), LONGEST_WAIT);
    waiting(`The server is busy. Asking again in ${seconds} s (${attempt} of ${TRIES - 1}).`);
    await pause(seconds, signal);
  }
}

/** The picture at `path` as a Blob. */
export async function fetchPicture(path, signal) {
  const answer = await send(path, undefined, signal);
  if (!answer.ok) throw await refusal(answer);
  return answer.blob();
}

async function send(path, form, signal) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    return await fetch(path, { method: form ? "POST" : "GET", body: form, headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server cannot be reached. Is it still running?");
  }
}

async function refusal(answer) {
  const told = await answer.json().catch(() => null);
  return new Refused(capital(told?.error?.message ?? `the server answered with ${answer.status}.`), answer.status);
}

function pause(seconds, signal) {
  return new Promise((done, stop) => {
    signal?.throwIfAborted();
    const stopped = () => (clearTimeout(clock), stop(signal.reason));
    const clock = setTimeout(() => (signal?.removeEventListener("abort", stopped), done()), 1000 * seconds);
    signal?.addEventListener("abort", stopped, { once: true });
  });
}
