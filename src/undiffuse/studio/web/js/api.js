// Talking to the studio's server. Every failure is an ApiError whose message is a sentence for the person at the page.

export class ApiError extends Error {
  /** @param {string} message @param {number} status HTTP status, 0 where no answer came. @param {number} retryAfter seconds. */
  constructor(message, status = 0, retryAfter = 0) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Whether this page came from the studio's server; learn.html from a file server did not. */
export const hasServer = () => "server" in document.documentElement.dataset;

/**
 * Where an address of the studio is, as "/v1/status": below the page's own, wherever a proxy serves that.
 *
 * Whatever the API names begins with a slash and counts from the studio; addresses of other kinds (data:, blob:) stay.
 */
export function at(path) {
  if (!path.startsWith("/")) return path;
  const { pathname, search } = new URL(path.slice(1), document.baseURI);
  return pathname + search;
}

async function request(path, options) {
  let answer;
  try {
    answer = await fetch(at(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The studio does not answer. Is `undiffuse studio` still running in its terminal?");
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  const retryAfter = Number(answer.headers.get("Retry-After")) || 0;
  throw new ApiError(said.error ?? `The studio answered with status ${answer.status}.`, answer.status, retryAfter);
}

const json = async (answer) => (answer.status === 204 ? null : answer.json());

/** The JSON at a path of the API. */
export const get = async (path, { signal } = {}) => json(await request(path, { signal }));

/** Send JSON, or a FormData as it is; the JSON of the answer. */
export async function post(path, body = {}, { signal } = {}) {
  const form = body instanceof FormData;
  const headers = form ? {} : { "Content-Type": "application/json" };
  return json(await request(path, { method: "POST", headers, body: form ? body : JSON.stringify(body), signal }));
}

/** Send JSON or a FormData; the bytes of the answer, such as a picture. */
export async function postForBlob(path, body, { signal } = {}) {
  const headers = { "Content-Type": "application/json" };
  return (await request(path, { method: "POST", headers, body: JSON.stringify(body), signal })).blob();
}

/** The bytes at a path of the API, such as an animation. */
export const getBlob = async (path, { signal } = {}) => (await request(path, { signal })).blob();

/** Delete (or cancel) what a path names. */
export const remove = async (path, { signal } = {}) =>
  json(await request(path, { method: "DELETE", headers: { "Content-Type": "application/json" }, signal }));

/**
 * Listen to a stream of server-sent events until one of `last` comes, `signal` aborts or close() is called.
 *
 *   events(job.events, { step: (data) => ..., done: (data) => ... }, { last: ["done", "error", "cancelled"], signal })
 *
 * The browser reconnects by itself and goes on where it was; onLost is called when it has given up.
 *
 * @returns {{ close }}
 */
export function events(path, handlers, { last = [], signal, onLost } = {}) {
  const source = new EventSource(at(path));
  const close = () => source.close();
  for (const [name, handler] of Object.entries(handlers)) {
    source.addEventListener(name, (event) => {
      // An error of the connection is an event "error" too, without data.
      if (event.data === undefined) return;
      if (last.includes(name)) close();
      handler(JSON.parse(event.data));
    });
  }
  source.addEventListener("error", (event) => {
    if (event.data === undefined && source.readyState === EventSource.CLOSED) onLost?.();
  });
  signal?.addEventListener("abort", close);
  return { close };
}
