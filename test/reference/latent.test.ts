import { expect, test } from "vitest";
import { nmse } from "../support/golden.ts";
import { normals, seeded } from "../support/random.ts";
import { absorbedLatentAttention, expandedLatentAttention, type LatentInputs } from "./latent.ts";

test.each([
  { heads: 1, rank: 64, rotary: 16, variant: "normal" },
  { heads: 3, rank: 64, rotary: 64, variant: "normal" },
  { heads: 3, rank: 512, rotary: 64, variant: "neox" },
] as const)("absorbed = expanded: $heads heads, rank $rank, rotary $rotary", ({ heads, rank, ...rope }) => {
  const { rotary } = rope;
  const random = seeded(heads * rank);
  const [tokens, positions, plain, valueSize] = [3, 9, 32, 48];
  const inputs: LatentInputs = {
    ...rope,
    q: normals(random, tokens * heads * (plain + rotary)),
    kv: normals(random, positions * (rank + rotary)),
    norm: normals(random, rank),
    epsilon: 1e-5,
    keyUp: { values: normals(random, heads * rank * plain, 0.1), heads, rows: rank, cols: plain },
    valueUp: { values: normals(random, heads * valueSize * rank), heads, rows: valueSize, cols: rank },
    frequencies: Array.from({ length: rotary / 2 }, (_, i) => 100 ** ((-2 * i) / rotary)),
    magnitude: 1.1,
    positions: [6, 7, 8],
    scale: 1 / Math.sqrt(plain + rotary),
  };
  const expanded = expandedLatentAttention(inputs);
  expect(expanded).toHaveLength(tokens * heads * valueSize);
  expect(Math.sqrt(nmse(absorbedLatentAttention(inputs), expanded))).toBeLessThan(1e-13);
});
