/** A tensor of a safetensors file. */
export interface SafetensorsEntry {
  readonly name: string;
  readonly dtype: string;
  /** Outermost axis first. */
  readonly shape: readonly number[];
  readonly data: Uint8Array;
  /** Where the header says the data is; default: where it is. */
  readonly offsets?: readonly unknown[];
}

/** What a file that lies has in place of the truth. */
export interface SafetensorsLies {
  /** The header's text. */
  readonly header?: string;
  readonly headerBytes?: bigint;
  /** Bytes behind the data. */
  readonly more?: number;
}

/** Writes a safetensors file, data one after the other; valid unless `lies` or an entry says otherwise. */
export function writeSafetensors(
  entries: readonly SafetensorsEntry[],
  lies: SafetensorsLies = {},
): Uint8Array<ArrayBuffer> {
  let end = 0;
  const described = entries.map(({ name, dtype, shape, data, offsets }) => {
    const begin = end;
    end += data.byteLength;
    return [name, { dtype, shape, data_offsets: offsets ?? [begin, end] }];
  });
  const text =
    lies.header ?? JSON.stringify({ __metadata__: { format: "pt" }, ...Object.fromEntries(described) });
  const header = new TextEncoder().encode(text);
  const file = new Uint8Array(8 + header.byteLength + end + (lies.more ?? 0));
  new DataView(file.buffer).setBigUint64(0, lies.headerBytes ?? BigInt(header.byteLength), true);
  file.set(header, 8);
  let at = 8 + header.byteLength;
  for (const { data } of entries) {
    file.set(data, at);
    at += data.byteLength;
  }
  return file;
}
