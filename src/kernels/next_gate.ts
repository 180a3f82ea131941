import source from "../../shaders/next_gate.wgsl?raw";
import type { Gpu } from "../gpu/gpu.ts";
import type { BoundBuffer } from "../gpu/pipelines.ts";
import type { Step } from "../gpu/program.ts";
import { gateBytes, gateRange } from "./pack_gate.ts";
import { makeStep } from "./step.ts";

export interface NextGateArgs {
  /** As `pack_gate` fills it, for sites `firstSite` to `firstSite + sites − 1`. */
  readonly gates: GPUBuffer;
  readonly firstSite: number;
  readonly sites: number;
  /** The most experts of any site. */
  readonly experts: number;
  /** A multiple of 32. */
  readonly cols: number;
  /** Sites after the source whose routers are asked. */
  readonly lookahead: number;
  /** The norm before the routers, the same for all: `rms` unless told. Guesses do without the bias of a `layer` norm. */
  readonly kind?: "rms" | "layer" | "none" | undefined;
  readonly epsilon: number;
  /**
   * The site that `x` is at. A number is for a step before that site's route, and stops at a fault. "fault" is the
   * site in the fault word, −1 if that is ABSENT, and does nothing if it is DAMAGED.
   */
  readonly source: number | "fault";
  /** u32 */
  readonly fault: GPUBuffer;
  /** [tokens, cols] f32: the residual stream, of which row 0 */
  readonly x: GPUBuffer;
  /** [lookahead, experts] f32; rows of sites that `gates` does not hold are left alone. */
  readonly logits: BoundBuffer;
}

const LANES = 64;

/** Router logits of the sites after `source`, asked early: as if no layer between them changed the stream. */
export function next_gate(gpu: Gpu, args: NextGateArgs): Step {
  const { experts, cols, lookahead, kind = "rms", fault, x, logits } = args;
  const { first, bound, sites } = heldTargets(args);
  const { binding, base } = gateRange(gpu, args.gates, bound, Math.max(1, sites), gateBytes(experts, cols));
  return makeStep(gpu, {
    label: "next_gate",
    source,
    constants: {
      LANES,
      AT_FAULT: args.source === "fault",
      FIRST_SITE: first,
      SITES: sites,
      EXPERTS: experts,
      COLS: cols,
      BASE: base,
      NORMED: kind !== "none",
      CENTRED: kind === "layer",
      EPSILON: { f32: args.epsilon },
    },
    buffers: { gates: binding, x, logits },
    fault,
    grid: () => [Math.ceil(experts / LANES), lookahead],
  });
}

/**
 * Which sites of the buffer may be asked, as the first to bind and how many: all AT_FAULT, else the targets of the
 * source that it holds, which may be none. `first` is the target that the first of them is.
 */
function heldTargets({ firstSite, sites, lookahead, source }: NextGateArgs) {
  if (source === "fault") return { first: firstSite, bound: 0, sites };
  const wanted = source + 1 - firstSite;
  const low = Math.max(wanted, 0);
  const held = Math.max(0, Math.min(wanted + lookahead, sites) - low);
  return { first: low - wanted, bound: Math.min(low, sites - 1), sites: held };
}
