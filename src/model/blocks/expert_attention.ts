import { rope_kv } from "../../kernels/rope_kv.ts";
import { maxRoutes } from "../moe_plan.ts";
import type { ExpertAttentionBlock } from "../plan.ts";
import { normalise, project } from "./build.ts";
import type { Mixer } from "./mixer.ts";

/** x += Σ weight · Wo[e] · attention(Wq[e] · n, cache) over the token's RouteSet, n = norm(x) */
export const expertAttentionMixer: Mixer<ExpertAttentionBlock> = {
  linears: ({ keyValue }) => (keyValue ? [keyValue.k, keyValue.v] : []),
  vectors: () => [],
  scratch: ({ heads, headSize, keyValue, moe }) => ({
    projected: keyValue ? 2 * heads * headSize : 0,
    queries: 0,
    attended: maxRoutes(moe.router, moe.experts) * heads * headSize,
  }),
  kept: ({ heads, headSize }) => ({
    keys: { of: "each position", runs: (heads * headSize) / 4, floats: 4 },
    values: { of: "each position", runs: heads, floats: headSize },
  }),
  steps(build, block) {
    const { gpu, state, sizes } = build;
    const { heads, headSize, keyValue } = block;
    const { normed, projected, queries: q, fault } = state;
    const { keys, values } = state.kept.get(block) as { keys: GPUBuffer; values: GPUBuffer };
    const columns = heads * headSize;
    return [
      normalise(build, block.norm),
      ...(keyValue ? project(build, [keyValue.k, keyValue.v]) : []),

      // Keys and values go to the cache as they are, before any expert asks.
      rope_kv(gpu, {
        ...{ heads: 0, kvHeads: heads, headSize, context: sizes.context, q, keys, values, fault },
        ...(keyValue ? { qkv: projected } : { qkv: normed, columns, kAt: 0, vAt: 0 }),
        ...{ rotary: 0, interleaved: false, epsilon: 0 },
      }),
    ];
  },
};
