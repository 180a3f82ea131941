import type { ByteRange } from "../quant/page.ts";
import type { Source } from "./source.ts";

interface Piece {
  readonly offset: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/**
 * A source that can keep what was read of it too early: a header is read in chunks, and the last of them brings
 * bytes of the first pages. Reads are served from what is kept as far as it reaches.
 */
export class ReadAhead<S extends Source = Source> implements Source {
  readonly source: S;
  /** While a header is read: all that came, in file order. */
  #read: Piece[] | undefined;
  #kept: Piece | undefined;

  constructor(source: S) {
    this.source = source;
  }

  get id(): string {
    return this.source.id;
  }

  get name(): string {
    return this.source.name;
  }

  get size(): number {
    return this.source.size;
  }

  get bytesFetched(): number {
    return this.source.bytesFetched;
  }

  get keptBytes(): number {
    return this.#kept?.bytes.byteLength ?? 0;
  }

  async read(offset: number, bytes: number, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    const kept = this.#kept && offset >= this.#kept.offset ? partOf(this.#kept, offset, bytes) : undefined;
    if (!kept || kept.byteLength === 0) {
      const piece = await this.source.read(offset, bytes, signal);
      this.#read?.push({ offset, bytes: piece });
      return piece;
    }
    // Asked even for no bytes: the source checks the range, and whether anyone still wants it.
    const rest = await this.source.read(offset + kept.byteLength, bytes - kept.byteLength, signal);
    if (rest.byteLength === 0) return kept.slice();
    const piece = new Uint8Array(bytes);
    piece.set(kept);
    piece.set(rest, kept.byteLength);
    return piece;
  }

  /** Remembers what is read, chunk after chunk, until `keepFrom`. */
  remember(): void {
    this.#read = [];
  }

  /** Keeps a copy of what was remembered from `offset` on. What costs no network to read again is not kept. */
  keepFrom(offset: number): void {
    const ahead = (this.#read ?? []).map((piece) => partOf(piece, offset, Number.POSITIVE_INFINITY));
    this.#read = undefined;
    const size = ahead.reduce((sum, part) => sum + part.byteLength, 0);
    if (size === 0 || this.bytesFetched === 0) return;
    const bytes = new Uint8Array(size);
    let at = 0;
    for (const part of ahead) {
      bytes.set(part, at);
      at += part.byteLength;
    }
    this.#kept = { offset, bytes };
  }

  /** Whether any byte of `range` is kept. */
  keeps({ offset, bytes }: ByteRange): boolean {
    const kept = this.#kept;
    return kept !== undefined && offset < kept.offset + kept.bytes.byteLength && offset + bytes > kept.offset;
  }

  forget(): void {
    this.#kept = undefined;
  }

  close(): void {
    this.forget();
    this.source.close();
  }
}

/** The part of `piece` that lies in `bytes` bytes from `offset`. */
function partOf(piece: Piece, offset: number, bytes: number): Uint8Array<ArrayBuffer> {
  const start = Math.max(0, offset - piece.offset);
  return piece.bytes.subarray(start, Math.max(start, offset + bytes - piece.offset));
}
