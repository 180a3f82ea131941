import { expect, test } from "vitest";
import { group, maxTiles } from "../../src/kernels/group.ts";
import { ABSENT } from "../../src/kernels/route.ts";
import {
  downloadWords,
  expectPoison,
  onGpu,
  outputWords,
  poisoned,
  runSteps,
  storage,
} from "../support/gpu.ts";
import { seeded } from "../support/random.ts";
import { grouping, packRoutes, randomExperts, routeSets } from "./routes.ts";

interface Case {
  readonly experts: number;
  readonly topK: number;
  readonly tile: number;
  /** [tokens, topK] */
  readonly chosen: readonly number[];
  readonly counts?: readonly number[];
  /** Tokens the buffers have room for, if more than there are. */
  readonly maxTokens?: number;
}

onGpu("group", (gpu) => {
  async function grouped({ experts, topK, tile, chosen, counts, maxTokens }: Case) {
    const tokens = chosen.length / topK;
    const room = maxTokens ?? tokens;
    // Slots are not in the order of experts, and one expert has none.
    const slotOf = (expert: number) => (expert === 1 ? ABSENT : (7 * expert) % experts);
    const routes = routeSets(seeded(1), topK, chosen, slotOf, counts);
    const expected = grouping(routes, tile);
    const tileCount = maxTiles(room, topK, experts, tile);
    // Tokens past the replay's hold routes of an earlier one.
    const stale = new Uint32Array(3 * (room - tokens) * topK);
    const staleCounts = new Uint32Array(room - tokens).fill(topK);
    const tiles = poisoned(gpu(), "tiles", 3 * tileCount);
    const pairs = poisoned(gpu(), "pairs", room * topK);
    const step = group(gpu(), {
      ...{ experts, topK, tile, maxTokens: room, tiles, pairs },
      routes: storage(gpu(), "routes", Uint32Array.from([...packRoutes(routes), ...stale])),
      counts: storage(gpu(), "counts", Uint32Array.from([...routes.counts, ...staleCounts])),
    });
    await runSteps(gpu(), [step], { tokens });
    const unused = Array.from({ length: tileCount - expected.tiles.length }, () => [ABSENT, 0, 0]);
    expect(expected.tiles.length).toBeLessThanOrEqual(maxTiles(tokens, topK, experts, tile));
    expect(Array.from(await outputWords(gpu(), tiles, 3 * tileCount))).toEqual(
      [...expected.tiles, ...unused].flat(),
    );
    const words = await downloadWords(gpu(), pairs);
    const used = expected.pairs.length;
    expect(Array.from(words.subarray(0, used))).toEqual(expected.pairs);
    expectPoison(words.subarray(used), "pairs of nobody");
  }

  const someRoutes = (tokens: number, topK: number, experts: number) =>
    randomExperts(seeded(tokens), tokens, topK, experts);

  test("one token", () => grouped({ experts: 8, topK: 2, tile: 8, chosen: [6, 1] }));
  test("many tokens, some experts empty", () =>
    grouped({ experts: 16, topK: 4, tile: 4, chosen: someRoutes(13, 4, 11) }));
  test("more experts than lanes", () =>
    grouped({ experts: 150, topK: 8, tile: 8, chosen: someRoutes(20, 8, 150) }));
  test("all tokens to the same experts, whole tiles", () =>
    grouped({ experts: 5, topK: 2, tile: 8, chosen: new Array(16).fill([4, 2]).flat() }));
  test("all tokens to one expert, a tile and a part", () =>
    grouped({ experts: 5, topK: 1, tile: 8, chosen: new Array(11).fill(3) }));
  test("every expert chosen by every token", () =>
    grouped({ experts: 3, topK: 3, tile: 2, chosen: someRoutes(5, 3, 3) }));
  test("an expert chosen twice by a token", () =>
    grouped({ experts: 4, topK: 3, tile: 4, chosen: [2, 2, 0, 3, 0, 0, 2, 1, 2] }));
  test("counts below the most", () =>
    grouped({ experts: 6, topK: 3, tile: 2, chosen: someRoutes(6, 3, 6), counts: [3, 0, 1, 2, 0, 3] }));
  test("no pairs at all", () =>
    grouped({ experts: 4, topK: 2, tile: 4, chosen: [0, 1, 2, 3], counts: [0, 0] }));
  test("tiles of one", () => grouped({ experts: 4, topK: 2, tile: 1, chosen: someRoutes(5, 2, 4) }));
  test("a chunk smaller than the buffers", () =>
    grouped({ experts: 6, topK: 2, tile: 4, chosen: someRoutes(3, 2, 6), maxTokens: 16 }));
});
