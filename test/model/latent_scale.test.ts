import { expect, test } from "vitest";
import { latentScale } from "../../src/model/archs/latent_scale.ts";

const none = { keySize: 192, factor: 1, isYarn: false, attentionFactor: 1, logMultiplier: 0 };

test("without scaling it is that of any attention", () => {
  expect(latentScale(none)).toEqual({ scale: 1 / Math.sqrt(192), magnitude: 1 });
});

// config.json: rope_scaling.factor 40, mscale = mscale_all_dim; the converter writes a tenth of it.
test.each([
  ["DeepSeek-V2-Lite", 707 / 1000],
  ["DeepSeek-V3", 1],
])("%s: all of q·k grows by mscale², cos and sin do not", (_, mscale) => {
  const yarn = { ...none, factor: 40, isYarn: true, logMultiplier: 0.1 * mscale };
  const { scale, magnitude } = latentScale(yarn);
  // transformers: softmax_scale · (0.1 · mscale_all_dim · ln(factor) + 1)²
  expect(scale).toBeCloseTo((0.1 * mscale * Math.log(40) + 1) ** 2 / Math.sqrt(192), 12);
  expect(magnitude).toBe(1);
});

/** llama.cpp step by step, with what it cancels: llama-context.cpp, then deepseek2.cpp, then ggml's rope. */
function stepByStep({ keySize, factor, isYarn, attentionFactor, logMultiplier }: typeof none) {
  const multiplier = logMultiplier / 0.1;
  const mscaleOf = (by: number) => (factor <= 1 ? 1 : 0.1 * by * Math.log(factor) + 1);
  let attnFactor = 1;
  if (isYarn) {
    attnFactor = multiplier !== 0 ? mscaleOf(multiplier) / mscaleOf(multiplier) : mscaleOf(1);
    attnFactor *= 1 / (1 + 0.1 * Math.log(factor));
  }
  attnFactor *= attentionFactor;
  const original = attnFactor * (1 + 0.1 * Math.log(factor));
  const mscale = original * (1 + 0.1 * multiplier * Math.log(factor));
  return {
    scale: (mscale * mscale) / Math.sqrt(keySize),
    magnitude: attnFactor * (isYarn ? 1 + 0.1 * Math.log(factor) : 1),
  };
}

const cases = [0.5, 1, 8, 40].flatMap((factor) =>
  [false, true].flatMap((isYarn) =>
    [0, 0.0707, 0.1].map((logMultiplier) => ({ factor, isYarn, logMultiplier })),
  ),
);

test.each(cases)("as llama.cpp: factor $factor, YaRN $isYarn, multiplier $logMultiplier", (changed) => {
  const scaling = { ...none, ...changed, attentionFactor: 1.2 };
  const expected = stepByStep(scaling);
  const { scale, magnitude } = latentScale(scaling);
  expect(scale).toBeCloseTo(expected.scale, 12);
  expect(magnitude).toBeCloseTo(expected.magnitude, 12);
});
