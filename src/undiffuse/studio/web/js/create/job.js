// A job of the server from this side: asked for, watched step by step, cancelled.

import { ApiError, events, post, remove } from "../api.js";

const LAST = ["done", "error", "cancelled"];

/**
 * Ask for a job and watch it.
 *
 *   const job = await begin("/v1/samples", { model: "digits", n: 4 }, { step: ({ k, of }) => ... });
 *   const { images, seconds } = await job.finished;
 *
 * @param {string} path to post to. @param {object|FormData} body as the API wants it.
 * @param {object} handlers queued, started, step, image: data -> void.
 * @returns {Promise<{ id, cancel, finished }>} `finished` is what "done" told with the images, null if it was cancelled;
 *   it throws an ApiError where the job failed.
 */
export async function begin(path, body, handlers = {}, { signal } = {}) {
  const { id, events: stream } = await post(path, body, { signal });
  const images = [];
  const finished = new Promise((resolve, reject) => {
    const told = {
      ...handlers,
      image: (image) => {
        images.push(image);
        handlers.image?.(image);
      },
      done: (data) => resolve({ ...data, images }),
      error: ({ error }) => reject(new ApiError(error)),
      cancelled: () => resolve(null),
    };
    const onLost = () => reject(new ApiError("The connection to the studio was lost; the job goes on without this page."));
    events(stream ?? `/v1/samples/${id}/events`, told, { last: LAST, signal, onLost });
    // Whoever leaves the page is not waited for: nothing of theirs runs on unseen.
    signal?.addEventListener("abort", () => {
      remove(`/v1/samples/${id}`).catch(() => {});
      resolve(null);
    });
  });
  return { id, finished, cancel: () => remove(`/v1/samples/${id}`) };
}

/** Seconds as a person says them: 0.8 s, 12 s, 3 min 20 s, 2 h 5 min. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** "1 picture", "4,000 pictures". */
export const plural = (count, word) => `${count.toLocaleString("en-GB")} ${word}${count === 1 ? "" : "s"}`;
