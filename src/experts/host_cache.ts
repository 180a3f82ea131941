/**
 * Page bytes in host memory, between the store and the GPU: at most `capacityBytes`, the least recently used leaves
 * first. It keeps the buffers it is given and hands out the same ones, so nobody may transfer or change them.
 */
export class HostCache {
  readonly #capacityBytes: number;
  /** The least recently used first. */
  readonly #pages = new Map<number, ArrayBuffer>();
  #bytes = 0;
  #peak = 0;

  constructor(capacityBytes: number) {
    this.#capacityBytes = capacityBytes;
  }

  /** Held now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The most that was held at once. */
  get peak(): number {
    return this.#peak;
  }

  /** The page's bytes if they are here, which counts as use. */
  get(index: number): ArrayBuffer | undefined {
    this.touch(index);
    return this.#pages.get(index);
  }

  /** Keeps a page in place of those unused for longest. One that is larger than the whole cache is not kept. */
  put(index: number, bytes: ArrayBuffer): void {
    this.#drop(index);
    if (bytes.byteLength > this.#capacityBytes) return;
    for (const oldest of this.#pages.keys()) {
      if (this.#bytes + bytes.byteLength <= this.#capacityBytes) break;
      this.#drop(oldest);
    }
    this.#pages.set(index, bytes);
    this.#bytes += bytes.byteLength;
    this.#peak = Math.max(this.#peak, this.#bytes);
  }

  /** Counts as use, if the page is here: the GPU gave it up, so it is likelier to be wanted from here. */
  touch(index: number): void {
    const bytes = this.#pages.get(index);
    if (!bytes) return;
    this.#pages.delete(index);
    this.#pages.set(index, bytes);
  }

  #drop(index: number): void {
    this.#bytes -= this.#pages.get(index)?.byteLength ?? 0;
    this.#pages.delete(index);
  }
}
