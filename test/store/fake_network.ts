import { vi } from "vitest";

/** One file behind a stubbed `fetch` that knows ranges: the same in Node and in browsers. */
export class FakeNetwork {
  readonly url: string;
  file: Uint8Array<ArrayBuffer>;
  requests = 0;
  bytes = 0;
  /** Since the last reset, as they came; `end` is exclusive. */
  asked: { readonly start: number; readonly end: number }[] = [];
  /** The most that were under way at once. */
  parallel = 0;
  offline = false;
  #stalled: Promise<void> | undefined;
  #running = 0;

  constructor(file: Uint8Array<ArrayBuffer>) {
    this.file = file;
    this.url = `https://models.test/${crypto.randomUUID()}.gguf`;
    vi.stubGlobal("fetch", (_: unknown, init: RequestInit) => this.#answer(init));
  }

  /** Zero requests and bytes again. */
  reset(): void {
    this.requests = 0;
    this.bytes = 0;
    this.asked = [];
  }

  /** Holds every answer until the returned function is called. */
  stall(): () => void {
    let release = () => {};
    this.#stalled = new Promise((resolve) => {
      release = () => {
        this.#stalled = undefined;
        resolve();
      };
    });
    return release;
  }

  async #answer(init: RequestInit): Promise<Response> {
    const match = new Headers(init.headers).get("Range")?.match(/^bytes=(\d+)-(\d+)$/);
    if (!match) throw new Error("the store asks for ranges only");
    const start = Number(match[1]);
    const end = Number(match[2]) + 1;
    this.requests++;
    this.asked.push({ start, end });
    this.#running++;
    this.parallel = Math.max(this.parallel, this.#running);
    try {
      await aborted(init.signal, this.#stalled);
      // Another turn, so that requests made together are under way together.
      await new Promise((resolve) => setTimeout(resolve, 0));
    } finally {
      this.#running--;
    }
    if (this.offline) throw new TypeError("Failed to fetch");
    const part = this.file.slice(start, end);
    this.bytes += part.byteLength;
    const range = `bytes ${start}-${start + part.byteLength - 1}/${this.file.byteLength}`;
    return new Response(part, { status: 206, headers: { "Content-Range": range } });
  }
}

function aborted(signal: AbortSignal | null | undefined, stalled: Promise<void> | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => reject(new DOMException("stopped", "AbortError"));
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop);
    (stalled ?? Promise.resolve()).then(resolve);
  });
}
