import type { DeltaNetBlock, Linear } from "../plan.ts";
import type { Parts } from "./parts.ts";
import type { FileReader } from "./reader.ts";
import { stackRowsOf } from "./views.ts";

/** The sizes of the gated delta nets of a GGUF file. */
export function deltaSizes(reader: FileReader) {
  const keyHeads = reader.count("ssm.group_count", 1 << 12);
  const valueHeads = reader.count("ssm.time_step_rank", 1 << 12);
  const keySize = reader.count("ssm.state_size", 1 << 12);
  const inner = reader.count("ssm.inner_size", 1 << 20);
  if (valueHeads % keyHeads !== 0 || inner % valueHeads !== 0) {
    const sizes = { keyHeads, valueHeads, inner };
    throw reader.contradiction(
      `ssm.time_step_rank is ${valueHeads}, which ssm.group_count ${keyHeads} or ssm.inner_size ${inner} does not fit`,
      sizes,
    );
  }
  return { keyHeads, valueHeads, keySize, inner, valueSize: inner / valueHeads };
}

/** A layer's gated delta net, all but the order of its value heads. */
export function deltaNet(parts: Parts, l: number, { alpha, beta }: Pick<DeltaNetBlock, "alpha" | "beta">) {
  const { reader } = parts;
  const { keyHeads, valueHeads, keySize, valueSize, inner } = deltaSizes(reader);
  const channels = 2 * keyHeads * keySize + inner;
  const tokens = reader.count("ssm.conv_kernel", 1 << 10);
  const name = (part: string) => `blk.${l}.${part}`;
  return {
    kind: "delta-net" as const,
    norm: parts.norm(name("attn_norm")),
    ...{ keyHeads, valueHeads, keySize, valueSize, alpha, beta },
    ...(reader.has(name("attn_qkv.weight"))
      ? { qkv: [parts.linear(name("attn_qkv"), channels)], gate: parts.linear(name("attn_gate"), inner) }
      : splitInput(parts, name("ssm_in.weight"))),
    kernel: reader.tensor(name("ssm_conv1d.weight"), [channels, tokens]),
    decay: reader.tensor(name("ssm_a"), [valueHeads]),
    decayBias: reader.tensor(name("ssm_dt.bias"), [valueHeads]),
    headNorm: parts.norm(name("ssm_norm"), valueSize),
    output: parts.linear(name("ssm_out"), parts.width, inner),
  };
}

/** The first files of this family have one matrix for it all: of each key head q, k, its values and their gates. */
function splitInput({ reader, width }: Parts, name: string) {
  const { keyHeads, keySize, inner } = deltaSizes(reader);
  const values = inner / keyHeads;
  const each = 2 * keySize + 2 * values;
  const stack = reader.tensor(name, [keyHeads * each, width]);
  const rows = (first: number, count: number): Linear => ({
    weight: stackRowsOf({ ...stack, shape: [keyHeads, each, width] }, first, count),
  });
  return {
    qkv: [rows(0, keySize), rows(keySize, keySize), rows(2 * keySize, values)],
    gate: rows(2 * keySize + values, values),
  };
}
