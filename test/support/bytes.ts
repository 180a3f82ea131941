import { expect } from "vitest";

/** Compares long byte arrays, which `toEqual` does element by element and slowly. */
export function expectBytes(actual: ArrayBuffer | Uint8Array | undefined, expected: Uint8Array): void {
  const bytes = actual instanceof ArrayBuffer ? new Uint8Array(actual) : actual;
  expect(bytes?.byteLength).toBe(expected.byteLength);
  const first = bytes?.findIndex((byte, i) => byte !== expected[i]) ?? -1;
  expect(first, `first byte that differs`).toBe(-1);
}
