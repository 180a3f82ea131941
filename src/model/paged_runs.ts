import { SluiceError } from "../errors.ts";
import type { Pager } from "../experts/pager.ts";
import type { SiteRoute } from "../experts/predictor/predictor.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { ParamValues } from "../gpu/params.ts";
import type { Step } from "../gpu/program.ts";
import { ABSENT, DAMAGED } from "../kernels/route.ts";
import { Foresight } from "./foresight.ts";
import { lookAt, type Program } from "./forward.ts";
import type { Sampling } from "./sampling.ts";
import type { Chunk, Seen, SeenReadback } from "./seen.ts";

/** Experts uploaded before the GPU is waited for: what is written and not yet run lies in host memory. */
const UPLOAD_AHEAD_BYTES = 64 * 2 ** 20;

/** Steps that stop at once and take as long as a readback: measured on SwiftShader; about 1 ms to 4 µs on hardware. */
const SOFTWARE_READBACK_STEPS = 20;
const READBACK_STEPS = 250;

/** Encodes replays of a program into one submit. */
export type Run = (steps: readonly Step[], params: Partial<ParamValues>, sampling?: Sampling) => void;

/** What runs in pages are made with. */
export interface PagedParts {
  readonly gpu: Gpu;
  readonly pager: Pager;
  readonly seen: SeenReadback;
  /** `Programs.ask` */
  readonly ask: readonly Step[];
  readonly submit: (encode: (run: Run) => void, copy?: (encoder: GPUCommandEncoder) => void) => void;
  readonly resetFault: () => void;
}

export interface PagedRun {
  readonly program: Program;
  readonly chunk: Chunk;
  /** Of each site, the experts that the request alone decides. */
  readonly known: readonly (SiteRoute | undefined)[];
  /** Bytes from one site's routes to the next. */
  readonly stride: number;
  /** Called once: while the first steps run, or before them where experts are known. */
  readonly start: (known: Foresight["ahead"]) => void;
  /** What else runs when the program reached its end. */
  readonly behind: (run: Run) => void;
  readonly sampling?: Sampling;
  readonly signal?: AbortSignal;
}

/** Runs programs whose experts are not all there. */
export class PagedRuns {
  readonly #parts: PagedParts;
  readonly #gpu: Gpu;
  readonly #pager: Pager;
  readonly #seen: SeenReadback;
  readonly #ask: readonly Step[];

  constructor(parts: PagedParts) {
    this.#parts = parts;
    this.#gpu = parts.gpu;
    this.#pager = parts.pager;
    this.#seen = parts.seen;
    this.#ask = parts.ask;
  }

  /**
   * Runs a program to its end: wherever it stops, the experts it misses are brought and it goes on from there. Until it
   * first stops it is read back once. It goes to the GPU in two submits: while the steps before the next site's route
   * run, what that site and later ones may need is brought. In front of sites whose experts are known it waits for them.
   */
  async run(asked: PagedRun): Promise<Seen> {
    const { program, chunk, known, start, signal } = asked;
    const { steps, sites } = program;
    const foresight = new Foresight(program, known);
    let first = 0;
    let pause = steps.length;
    let isSplit = true;
    this.#parts.resetFault();
    let bringEarly = () => start(foresight.ahead);
    if (foresight.ahead.length > 0) {
      bringEarly();
      bringEarly = () => {};
    }
    for (;;) {
      first = await this.#reachKnown(program, foresight, first, chunk, signal);
      const wait = foresight.ahead.find(({ site, experts }) => !this.#pager.isReady(site, experts));
      const end = Math.min(pause, wait ? (sites[wait.site]?.route ?? pause) : pause);
      const split = isSplit ? Math.min(end, foresight.nextLook(first) ?? end) : first;
      const seen = await this.#look(asked, first, split, end, bringEarly);
      const { fault, routes, ahead } = seen;
      const needed = (site: number) => this.#pager.paged(site, routes.needed(site));
      bringEarly = () => {};
      if (fault === DAMAGED) throw damagedRouter();
      if (fault === ABSENT) {
        if (end === steps.length) return seen;
        foresight.learn(needed, end - 1, end);
        this.#pager.expectKnown(foresight.ahead);
        first = end;
        isSplit = false;
        pause = this.#pauseBehind(program, foresight, first);
        continue;
      }
      if (foresight.isReached(fault)) throw new Error(`site ${fault} misses experts that were brought to it`);
      const { early, route, combine } = sites[fault] as Program["sites"][number];
      isSplit = true;
      this.#parts.resetFault();
      if (early !== undefined) {
        // What does without the site's experts runs while they come.
        first = foresight.learn(needed, early, end);
        this.#pager.stoppedEarly(fault);
        this.#pager.expectKnown(foresight.ahead);
      } else {
        const waves = this.#pager.stopped(fault, routes);
        foresight.learn(needed, route, end);
        foresight.reach(fault);
        this.#pager.plan(fault, waves[0] ?? []);
        this.#pager.expectKnown(foresight.ahead);
        await this.#computeWaves(waves, fault, steps.slice(route, combine), chunk, signal);
        first = route;
      }
      pause = this.#pauseBehind(program, foresight, first);
      const isInOrder = sites.every((site, s) => s >= fault || site.route < (early ?? route));
      if (isInOrder) bringEarly = () => this.#pager.expect(fault, routes, ahead);
    }
  }

  /** Runs steps `first` to `end` in two submits, with `between` between them, and reads back what they left. */
  #look(
    { program: { steps }, chunk, stride, behind, sampling }: PagedRun,
    first: number,
    split: number,
    end: number,
    between: () => void,
  ): Promise<Seen> {
    return this.#gpu.checked(() => {
      const staging = this.#seen.take();
      if (split > first) this.#parts.submit((run) => run(steps.slice(first, split), chunk, sampling));
      this.#pager.stream.showAll();
      between();
      this.#parts.submit(
        (run) => {
          run(steps.slice(split, end), chunk, sampling);
          if (end === steps.length) behind(run);
          run(this.#ask, chunk);
        },
        (encoder) => this.#seen.copy(encoder, staging, chunk, stride),
      );
      return this.#seen.read(staging, chunk, stride);
    });
  }

  /**
   * Runs as far as the last site that is known and not there, if the program cannot stop before: waits in front of each,
   * which is a fault where the GPU has to wait too. @returns the step to go on from
   */
  async #reachKnown(
    { steps, sites }: Program,
    foresight: Foresight,
    from: number,
    chunk: Chunk,
    signal: AbortSignal | undefined,
  ): Promise<number> {
    let first = from;
    for (const { site, experts } of foresight.ahead) {
      const { route, combine } = sites[site] as Program["sites"][number];
      if ((foresight.nextLook(first) ?? route) < route) return first;
      if (this.#pager.isReady(site, experts)) continue;
      if (route > first) {
        await this.#gpu.checked(() => this.#parts.submit((run) => run(steps.slice(first, route), chunk)));
      }
      this.#pager.stream.showAll();
      const waves = this.#pager.waves(site, experts);
      foresight.reach(site);
      await this.#computeWaves(waves, site, steps.slice(route, combine), chunk, signal, true);
      first = route;
    }
    return first;
  }

  /**
   * Where a program that goes on from step `first` had better pause to look: behind the route of a site that so often
   * misses that the steps submitted for nothing would cost more than a readback.
   */
  #pauseBehind({ steps, sites }: Program, foresight: Foresight, first: number): number {
    const readback = this.#gpu.software ? SOFTWARE_READBACK_STEPS : READBACK_STEPS;
    const pause = sites.find((site, s) => {
      const chance = this.#pager.missChance(s);
      const at = lookAt(site);
      return !foresight.isReached(s) && at >= first && chance * (steps.length - at) > (1 - chance) * readback;
    });
    return pause ? lookAt(pause) + 1 : steps.length;
  }

  /** Brings wave after wave and computes all but the last, which the program goes on with. */
  async #computeWaves(
    waves: readonly (readonly number[])[],
    site: number,
    steps: readonly Step[],
    chunk: Chunk,
    signal: AbortSignal | undefined,
    isKnown = false,
  ): Promise<void> {
    const { stream } = this.#pager;
    const needed = waves.flat();
    let uploaded = this.#gpu.counters.bytesUploaded;
    for (const [i, wave] of waves.entries()) {
      signal?.throwIfAborted();
      this.#pager.plan(site, wave);
      const arrival = stream.arrival(site, wave);
      if (isKnown) await this.#countIfLate(site, wave, arrival);
      await arrival;
      if (waves.length === 1) return;
      const here = new Set(wave);
      stream.showWave(
        site,
        needed.filter((expert) => !here.has(expert)),
      );
      if (i + 1 === waves.length) return;
      await this.#gpu.checked(() => {
        this.#parts.resetFault();
        this.#parts.submit((run) => run(steps, chunk));
        if (this.#gpu.counters.bytesUploaded - uploaded < UPLOAD_AHEAD_BYTES) return undefined;
        uploaded = this.#gpu.counters.bytesUploaded;
        return this.#gpu.done();
      });
    }
  }

  /** Experts that were asked for in time are a fault only where the GPU has nothing left to run before they are there. */
  async #countIfLate(site: number, wave: readonly number[], arrival: Promise<void>): Promise<void> {
    const missing = wave.filter((expert) => !this.#pager.stream.isThere(site, expert));
    if (missing.length === 0) return;
    const isLate = await Promise.race([arrival.then(() => false), this.#gpu.done().then(() => true)]);
    if (isLate) this.#pager.waited(site, missing);
  }
}

export function damagedRouter(): SluiceError {
  return damaged("a router's logits are not numbers");
}

export function damaged(what: string): SluiceError {
  return new SluiceError("bad-model-file", what, {
    remedy: "The weights are damaged or their type is misread: download the file again.",
  });
}
