import type { Step } from "../../gpu/program.ts";
import { attention } from "../../kernels/attention.ts";
import { gate_heads } from "../../kernels/gate_heads.ts";
import { head_matmul } from "../../kernels/head_matmul.ts";
import { matmul } from "../../kernels/matmul.ts";
import { rope_kv } from "../../kernels/rope_kv.ts";
import { soft_mixture } from "../../kernels/soft_mixture.ts";
import type { AttentionBlock, HeadNorm, Linear, MixtureSpec } from "../plan.ts";
import { addTo, type Build, normalise, project, type Sum } from "./build.ts";
import type { Mixer } from "./mixer.ts";

/** x += Wo · gate ⊙ attention(rope(Wq·n), cache), n = norm(x) */
export const attentionMixer: Mixer<AttentionBlock> = {
  linears: (block) => [...inputs(block), block.output],
  vectors: ({ qNorm, kNorm, sinks }) =>
    [qNorm?.weight, kNorm?.weight, sinks].filter((tensor) => tensor !== undefined),
  scratch: (block) => {
    const { heads, keySize, valueSize, mixture } = block;
    return {
      ...{ projected: columnsOf(inputs(block)), queries: heads * keySize, attended: heads * valueSize },
      given: mixture && rowsOf(block.output),
    };
  },
  kept: ({ kvHeads, keySize, valueSize }) => ({
    keys: { of: "each position", runs: (kvHeads * keySize) / 4, floats: 4 },
    values: { of: "each position", runs: kvHeads, floats: valueSize },
  }),
  steps(build, block) {
    const { gpu, weights, state, sizes, tile } = build;
    const { heads, kvHeads, keySize, valueSize, rope, gate, norm, qNorm, kNorm, sinks, mixture } = block;
    const { projected, queries, attended, fault } = state;
    const { keys, values } = state.kept.get(block) as { keys: GPUBuffer; values: GPUBuffer };
    const { context } = sizes;
    const columns = columnsOf(inputs(block));
    const qColumns = rowsOf(block.q);
    const qStep = qColumns / heads;
    const headNorm = (spec: HeadNorm | undefined) =>
      spec && (spec.weight ? weights.vector(spec.weight.name) : ("plain" as const));
    const gated = gate && {
      ...{ heads, size: valueSize, columns, source: projected, attended, fault },
      ...(gate === "in q"
        ? { at: keySize, step: qStep }
        : { at: columns - rowsOf(gate), step: rowsOf(gate) / heads, perHead: rowsOf(gate) === heads }),
    };
    return [
      normalise(build, norm),
      ...project(build, inputs(block)),

      // Rotated keys and plain values go to the cache before any query looks at it.
      rope_kv(gpu, {
        ...{
          heads,
          kvHeads,
          headSize: keySize,
          valueSize,
          context,
          qkv: projected,
          q: queries,
          keys,
          values,
          fault,
        },
        ...{ columns, qStep, kAt: qColumns, vAt: qColumns + kvHeads * keySize },
        rotary: rope?.rotary ?? 0,
        interleaved: rope?.interleaved ?? false,
        clamp: block.clamp,
        normQ: headNorm(qNorm),
        normK: headNorm(kNorm),
        normsAfterRope: block.normsAfterRope,
        epsilon: (qNorm ?? norm).epsilon,
        temperature: block.temperature,
        table: rope && state.ropes.get(rope),
      }),
      attention(gpu, {
        ...{
          heads,
          kvHeads,
          headSize: keySize,
          valueSize,
          context,
          q: queries,
          keys,
          values,
          out: attended,
          fault,
        },
        scale: block.scale,
        softcap: block.softcap,
        window: block.window,
        sinks: sinks && weights.vector(sinks.name),
        sets: mixture?.sharesKeys ? mixture.experts : undefined,
        tile: Math.max(1, Math.floor((tile * kvHeads) / heads)),
      }),
      ...(gated ? [gate_heads(gpu, gated)] : []),

      ...addTo(build, block.postNorm, (sum) =>
        mixture
          ? mixed(build, block, mixture, sum)
          : matmul(gpu, { matrices: weights.matrix(block.output), x: attended, ...sum, tile, fault }),
      ),
    ];
  },
};

/** What each expert gives, and the sum of it all. */
function mixed(build: Build, block: AttentionBlock, { experts }: MixtureSpec, sum: Sum): Step[] {
  const { gpu, plan, weights, state, tile } = build;
  const { projected: logits, attended, expertRows: rows, fault } = state;
  const columns = columnsOf(inputs(block));
  const each = (block.heads / experts) * block.valueSize;
  return [
    ...head_matmul(gpu, {
      ...{ matrices: weights.matrix(block.output), rows: plan.width, tile, fault },
      x: { buffer: attended, row: experts * each, each },
      y: { buffer: rows, row: experts * plan.width, each: plan.width },
    }),
    soft_mixture(gpu, {
      ...{ experts, cols: plan.width, rows, x: sum.y, store: !sum.add, scale: sum.scale, fault },
      logits: { buffer: logits, row: columns, first: columns - experts },
    }),
  ];
}

/** Their rows are stacked in the projection. */
function inputs({ q, k, v, gate, mixture }: AttentionBlock): Linear[] {
  return [q, k, v, ...(gate && gate !== "in q" ? [gate] : []), ...(mixture ? [mixture.gate] : [])];
}

function columnsOf(linears: readonly Linear[]): number {
  return linears.reduce((sum, linear) => sum + rowsOf(linear), 0);
}

/** Those of heads may lie in an axis of their own. */
function rowsOf({ weight }: Linear): number {
  return weight.shape.slice(0, -1).reduce((rows, n) => rows * n, 1);
}
