/** How a GGML tensor type is stored in a file: `block` weights in `bytes` bytes. */
export interface FileFormat {
  readonly block: number;
  readonly bytes: number;
}

/**
 * Every GGML tensor type whose size is known, by the name GGUF gives it, with its type id.
 * Knowing a size is not the same as being able to run it: see `layouts` in `layout.ts`.
 */
export const fileFormats = {
  F32: { id: 0, block: 1, bytes: 4 },
  F16: { id: 1, block: 1, bytes: 2 },
  Q4_0: { id: 2, block: 32, bytes: 18 },
  Q4_1: { id: 3, block: 32, bytes: 20 },
  Q5_0: { id: 6, block: 32, bytes: 22 },
  Q5_1: { id: 7, block: 32, bytes: 24 },
  Q8_0: { id: 8, block: 32, bytes: 34 },
  Q8_1: { id: 9, block: 32, bytes: 36 },
  Q2_K: { id: 10, block: 256, bytes: 84 },
  Q3_K: { id: 11, block: 256, bytes: 110 },
  Q4_K: { id: 12, block: 256, bytes: 144 },
  Q5_K: { id: 13, block: 256, bytes: 176 },
  Q6_K: { id: 14, block: 256, bytes: 210 },
  Q8_K: { id: 15, block: 256, bytes: 292 },
  IQ2_XXS: { id: 16, block: 256, bytes: 66 },
  IQ2_XS: { id: 17, block: 256, bytes: 74 },
  IQ3_XXS: { id: 18, block: 256, bytes: 98 },
  IQ1_S: { id: 19, block: 256, bytes: 50 },
  IQ4_NL: { id: 20, block: 32, bytes: 18 },
  IQ3_S: { id: 21, block: 256, bytes: 110 },
  IQ2_S: { id: 22, block: 256, bytes: 82 },
  IQ4_XS: { id: 23, block: 256, bytes: 136 },
  I8: { id: 24, block: 1, bytes: 1 },
  I16: { id: 25, block: 1, bytes: 2 },
  I32: { id: 26, block: 1, bytes: 4 },
  I64: { id: 27, block: 1, bytes: 8 },
  F64: { id: 28, block: 1, bytes: 8 },
  IQ1_M: { id: 29, block: 256, bytes: 56 },
  BF16: { id: 30, block: 1, bytes: 2 },
  TQ1_0: { id: 34, block: 256, bytes: 54 },
  TQ2_0: { id: 35, block: 256, bytes: 66 },
  MXFP4: { id: 39, block: 32, bytes: 17 },
  Q1_0: { id: 41, block: 128, bytes: 18 },
} as const satisfies Record<string, FileFormat & { readonly id: number }>;

export type TensorType = keyof typeof fileFormats;

const byId = new Map<number, TensorType>(
  (Object.keys(fileFormats) as TensorType[]).map((type) => [fileFormats[type].id, type]),
);

/** The name of a GGML type id, or undefined for one we have no size for. */
export function tensorTypeOf(ggmlTypeId: number): TensorType | undefined {
  return byId.get(ggmlTypeId);
}

/** Bytes that `count` weights take in a file; `count` must be whole blocks. */
export function fileBytes(type: TensorType, count: number): number {
  const { block, bytes } = fileFormats[type];
  return (count / block) * bytes;
}
