// Talks to the server. Masks are saved one after the other, always the newest, again and again until it works.

const RETRY_MILLISECONDS = 2000;

export async function getItems() {
  return (await fetchSound("/api/items")).json().then((answer) => answer.items);
}

export async function getBitmap(kind, index) {
  return bitmapOf(await fetchSound(`/api/${kind}/${index}`));
}

// What is on disk now, perhaps from another tab: the bitmap, null where nothing is drawn, and its revision.
export async function getMask(index) {
  const answer = await fetch(`/api/masks/${index}`);
  if (!answer.ok && answer.status !== 404) throw new Error(await answer.text());
  return { bitmap: answer.ok ? await bitmapOf(answer) : null, revision: answer.headers.get("ETag") };
}

export async function putVerdict(index, verdict) {
  const answer = await fetchSound(`/api/verdicts/${index}`, {
    method: "PUT",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ verdict }),
  });
  return (await answer.json()).verdict;
}

// Adds to the seconds that an image was open. That may be the last thing a page does, and nobody waits for it.
export function addSeconds(index, seconds) {
  const headers = { "Content-Type": "application/json" };
  const body = JSON.stringify({ seconds });
  fetch(`/api/seconds/${index}`, { method: "POST", headers, body, keepalive: true }).catch(() => null);
}

export class Saver {
  // `report(state, problem)` hears "saving", "saved" and "failed"; `saved(index, answer)` each success;
  // `refused(index, problem)` what the server will never take, which is then given up.
  constructor(report, saved, refused) {
    this.report = report;
    this.saved = saved;
    this.refused = refused;
    this.revision = null; // of the mask on disk, over which the next one is drawn
    this.pending = null;
    this.running = null;
    this.lost = false; // whether something was refused since the last flush
  }

  get isIdle() {
    return !this.running;
  }

  save(index, mask) {
    this.pending = { index, width: mask.width, height: mask.height, pixels: mask.pixels.slice() };
    this.report("saving");
    this.running ??= this.#run().finally(() => { this.running = null; });
  }

  // Resolves when nothing waits any more: to true if everything is on disk, to false if something was refused.
  async flush() {
    while (this.running) await this.running;
    const kept = !this.lost;
    this.lost = false;
    return kept;
  }

  async #run() {
    while (this.pending) {
      const snapshot = this.pending;
      this.pending = null;
      try {
        const answer = await fetchSound(`/api/masks/${snapshot.index}`, {
          method: "PUT",
          headers: { "Content-Type": "image/png", "If-Match": this.revision },
          body: await encode(snapshot),
        });
        this.revision = answer.headers.get("ETag");
        this.saved(snapshot.index, await answer.json());
      } catch (error) {
        if (error.isRefusal) {
          this.pending = null;
          this.lost = true;
          this.refused(snapshot.index, error.message);
          return;
        }
        this.report("failed", error.message);
        this.pending ??= snapshot;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS));
      }
    }
    this.report("saved");
  }
}

async function fetchSound(url, options) {
  const answer = await fetch(url, options);
  if (!answer.ok) {
    const isRefusal = answer.status >= 400 && answer.status < 500;
    throw Object.assign(new Error(await answer.text()), { isRefusal });
  }
  return answer;
}

async function bitmapOf(answer) {
  return createImageBitmap(await answer.blob(), { colorSpaceConversion: "none" });
}

const encoder = new Worker("/static/encoder.js");

// Returns a mask as a PNG file; one at a time.
function encode(mask) {
  return new Promise((resolve, reject) => {
    encoder.onmessage = ({ data }) => (data.blob ? resolve(data.blob) : reject(new Error(data.problem)));
    encoder.onerror = () => reject(new Error("the mask cannot be encoded"));
    encoder.postMessage(mask);
  });
}
