import { type GGUFParseOutput, gguf } from "@huggingface/gguf";
import { SluiceError } from "../errors.ts";
import { badFile } from "./gguf_errors.ts";
import { indexTensors } from "./gguf_tensors.ts";
import type { Metadata, MetadataValue, ModelFile } from "./model_file.ts";
import type { Source } from "./source.ts";

/** What the parser asks for at a time, and the most it can hold. */
const CHUNK_BYTES = 2_000_000;
const MAX_HEADER_BYTES = 50_000_000;
/** The parser asks for the next chunk when it has less than this left. */
const LEEWAY_BYTES = 500_000;

/** Magic, version and two counts. */
const PREFIX_BYTES = 24;
/** The least an entry can take: an empty key, a type, a byte; an empty name, a rank, a type, an offset. */
const METADATA_MIN_BYTES = 13;
const TENSOR_MIN_BYTES = 24;

/** Keys the parser adds to what the file has. */
const COUNTS = new Set(["version", "tensor_count", "kv_count"]);

/**
 * Reads and checks the header of a GGUF file: afterwards every tensor is known to lie inside the file, aligned,
 * in whole blocks and apart from the others.
 * @throws SluiceError `bad-model-file` for a file that is not GGUF, cut short or inconsistent,
 * `unsupported-model` for a version, byte order or tensor type that is not readable, and whatever
 * `source.read` throws.
 */
export async function readGguf(source: Source, signal?: AbortSignal): Promise<ModelFile> {
  const { name, size } = source;
  const first = await source.read(0, Math.min(size, CHUNK_BYTES), signal);
  checkPrefix(name, size, first);
  const header = await parse(source, first, signal);
  const headerBytes = header.tensorInfoByteRange[1];
  if (headerBytes > size) throw truncated(name, size, headerBytes);
  const metadata = plainMetadata(header.metadata);
  const tensors = indexTensors(header.tensorInfos, headerBytes, metadata["general.alignment"], {
    name,
    size,
  });
  return { format: "gguf", name, size, metadata, tensors };
}

async function parse(
  source: Source,
  first: Uint8Array<ArrayBuffer>,
  signal?: AbortSignal,
): Promise<GGUFParseOutput> {
  try {
    // The parser takes any address it is given to `fetch`; outside browsers it must look like a web address.
    return await gguf("http://source", { fetch: (_, init) => chunk(source, first, init, signal) });
  } catch (error) {
    if (error instanceof SluiceError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw badFile(source.name, `its header cannot be read: ${reason}`, { size: source.size }, error);
  }
}

/** Answers the parser's range requests from the source. */
async function chunk(
  source: Source,
  first: Uint8Array<ArrayBuffer>,
  init: RequestInit | undefined,
  signal: AbortSignal | undefined,
): Promise<Response> {
  const { name, size } = source;
  const start = Number(new Headers(init?.headers).get("Range")?.match(/^bytes=(\d+)-/)?.[1]);
  if (start === 0) return new Response(first);
  if (start + CHUNK_BYTES > MAX_HEADER_BYTES) {
    throw new SluiceError("unsupported-model", `the header of ${name} is larger than ${start} bytes`, {
      remedy: "Use a file with less metadata.",
      details: { name, headerBytes: start, limit: MAX_HEADER_BYTES },
    });
  }
  // A header that ends shortly before the file does is read ahead of by up to one chunk; beyond that the
  // parser is following lengths that lead out of the file.
  if (start >= size + CHUNK_BYTES) throw truncated(name, size, start - LEEWAY_BYTES);
  if (start >= size) return new Response(new Uint8Array(0));
  return new Response(await source.read(start, Math.min(CHUNK_BYTES, size - start), signal));
}

function checkPrefix(name: string, size: number, first: Uint8Array): void {
  if (size === 0) throw badFile(name, "it is empty (0 bytes)", { size });
  const magic = first.subarray(0, 4);
  if (!isMagic(magic)) {
    const hex = Array.from(magic, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
    throw badFile(name, `it is not GGUF: it starts with the bytes ${hex}`, { size, firstBytes: hex });
  }
  if (size < PREFIX_BYTES) throw truncated(name, size, PREFIX_BYTES);
  const view = new DataView(first.buffer, first.byteOffset, PREFIX_BYTES);
  const version = view.getUint32(4, true);
  if (version !== 0 && version % 0x10000 === 0) {
    throw new SluiceError("unsupported-model", `${name} is a big-endian GGUF file`, {
      remedy: "Convert the model again with little-endian byte order.",
      details: { name, version: view.getUint32(4, false) },
    });
  }
  if (version !== 2 && version !== 3) {
    throw new SluiceError(
      "unsupported-model",
      `${name} is GGUF version ${version}; versions 2 and 3 are readable`,
      {
        remedy: "Convert the model again with a current converter.",
        details: { name, version },
      },
    );
  }
  const tensors = view.getBigUint64(8, true);
  const entries = view.getBigUint64(16, true);
  const needed =
    BigInt(PREFIX_BYTES) + tensors * BigInt(TENSOR_MIN_BYTES) + entries * BigInt(METADATA_MIN_BYTES);
  if (needed > BigInt(size)) {
    const counts = `${tensors} tensors and ${entries} metadata entries`;
    throw badFile(name, `its header declares ${counts}, at least ${needed} bytes; the file has ${size}`, {
      needed: needed.toString(),
      size,
    });
  }
}

function isMagic(bytes: Uint8Array): boolean {
  return new TextDecoder().decode(bytes) === "GGUF";
}

function truncated(name: string, size: number, needed: number): SluiceError {
  return badFile(
    name,
    `it is cut short: the header alone needs at least ${needed} bytes, the file has ${size}`,
    {
      needed,
      size,
    },
  );
}

function plainMetadata(metadata: object): Metadata {
  const entries: [string, unknown][] = Object.entries(metadata);
  return Object.fromEntries(
    entries.filter(([key]) => !COUNTS.has(key)).map(([key, value]) => [key, plain(value)]),
  );
}

function plain(value: unknown): MetadataValue {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "bigint") {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }
  return value as MetadataValue;
}
