import { expect, test } from "vitest";
import { decodeTrace, encodeTrace, type Trace, traceHeader } from "../../src/experts/trace.ts";
import { MANY_EXPERTS, syntheticTrace } from "../support/synthetic_trace.ts";

const small: Trace = {
  sites: [
    { experts: 4, topK: 2, pageBytes: 512 },
    { experts: 64, topK: 2, pageBytes: 256, pageless: [62, 63] },
  ],
  tokens: [
    { id: 7, routes: [[3, 0], [63]], ahead: [{ from: 0, site: 1, experts: [63, 1], weights: [1, 0] }] },
    { id: -1, routes: [[], [5, 6]], ahead: [] },
  ],
};

test("a trace is what was written, empty and short routes included", () => {
  expect(decodeTrace(encodeTrace(small))).toEqual(small);
});

test("more than 64 experts take two digits; weights are kept to a few percent", () => {
  const trace = syntheticTrace({ ...MANY_EXPERTS, sites: 3, tokens: 5 });
  const read = decodeTrace(encodeTrace(trace));
  expect(read.sites).toEqual(trace.sites);
  read.tokens.forEach(({ id, routes, ahead }, t) => {
    const written = trace.tokens[t];
    expect({ id, routes }).toEqual({ id: written?.id, routes: written?.routes });
    ahead.forEach(({ weights, ...claims }, r) => {
      const { weights: exact = [], ...rest } = written?.ahead[r] ?? {};
      expect(claims).toEqual(rest);
      weights.forEach((weight, i) => {
        expect(Math.abs(Math.sqrt(weight) - Math.sqrt(exact[i] ?? 0))).toBeLessThan(0.009);
      });
    });
  });
});

const header = traceHeader(small.sites);
test.each([
  ["no JSON", "hello", 1],
  ["another format", '{"format":"gguf","version":1,"sites":[]}', 1],
  ["another version", header.replace('"version":1', '"version":2'), 1],
  ["no sites", '{"format":"sluice-routes","version":1,"sites":[]}', 1],
  ["null", "null", 1],
  ["more chosen than there are", header.replace('"topK":2', '"topK":5'), 1],
  ["a page that an unknown expert has not", header.replace("[62,63]", "[64]"), 1],
  ["experts without pages that are no list", header.replace("[62,63]", "62"), 1],
  ["no expert with a page", header.replace("[62,63]", JSON.stringify([...Array(64).keys()])), 1],
  ["a line cut off", `${header}[7,"30 -","`, 2],
  ["no token", `${header}{"id":7}`, 2],
  ["a site too few", `${header}[7,"30",""]`, 2],
  ["an unknown expert", `${header}[7,"34 0",""]`, 2],
  ["no digit", `${header}[7,"3! 0",""]`, 2],
  ["a ranking of an earlier site", `${header}[7,"30 0","100z"]`, 2],
  ["a ranking cut off", `${header}[7,"30 0","111"]\n`, 2],
  ["a bad second token", `${header}[7,"30 0",""]\n[]`, 3],
])("refuses %s, naming the line", (_, text, line) => {
  expect(() => decodeTrace(text)).toThrow(
    expect.objectContaining({ code: "bad-request", details: { line } }),
  );
});
