import { describe, expect, test } from "vitest";
import { stripWgsl } from "../../scripts/shaders.ts";
import params from "../../shaders/lib/params.wgsl?raw";
import { compose } from "../../src/gpu/compose.ts";
import { parseStruct } from "../../src/gpu/params.ts";
import { parseBindings } from "../../src/gpu/pipelines.ts";

test("parseStruct gives names, types and offsets in order", () => {
  const wgsl = "struct Other { z: f32 }\nstruct P {\n  a: u32, // not b: f32\n  c: f32,\n  d: u32,\n}";
  expect(parseStruct(wgsl.replace(" // not b: f32", " // first"), "P")).toEqual([
    { name: "a", type: "u32", offset: 0 },
    { name: "c", type: "f32", offset: 4 },
    { name: "d", type: "u32", offset: 8 },
  ]);
  expect(parseStruct(wgsl, "Missing")).toEqual([]);
});

test("the struct that all shaders share is read whole", () => {
  const names = parseStruct(params, "Params").map(({ name }) => name);
  expect(names).toEqual([
    ...["position", "tokens", "row", "seed", "temperature", "top_k", "top_p", "min_p"],
    ...["repetition_penalty", "frequency_penalty", "presence_penalty", "prompt_tokens", "top_logprobs"],
  ]);
  const fields = params.match(/^ {2}\w+:/gm);
  expect(fields).toHaveLength(names.length);
});

describe("parseBindings", () => {
  test("by index, whatever the order in the text", () => {
    const code = `
      @group(0) @binding(2) var<storage, read_write> out: array<f32>;
      @group(0) @binding(0) var<storage, read> x: array<vec4f>; // [tokens, cols]
      @group(0)   @binding(1)
      var<storage, read_write> fault: atomic<u32>;
      @group(1) @binding(0) var<uniform> params: Params;
      var<workgroup> shared_x: array<f32, 8>;`;
    expect(parseBindings(code)).toEqual([
      { index: 0, name: "x", type: "read-only-storage" },
      { index: 1, name: "fault", type: "storage" },
      { index: 2, name: "out", type: "storage" },
    ]);
  });

  test("every storage binding of every shader is found", () => {
    const shaders = import.meta.glob<string>("../../shaders/*.wgsl", {
      query: "?raw",
      import: "default",
      eager: true,
    });
    expect(Object.keys(shaders).length).toBeGreaterThan(10);
    for (const [path, code] of Object.entries(shaders)) {
      const declared = code.match(/^@group\(0\)/gm) ?? [];
      expect(parseBindings(code), path).toHaveLength(declared.length);
      expect(
        parseBindings(code).map(({ index }) => index),
        path,
      ).toEqual(declared.map((_, i) => i));
    }
  });
});

describe("compose", () => {
  test("directives, constants, params, snippets once each, kernel, in this order", () => {
    const code = compose(["subgroups"], { ROWS: 3, RENORM: true }, ["// a", "// b", "// a"], "// kernel");
    expect(code).toBe(
      [
        "enable subgroups;",
        "const ROWS = 3u;",
        "const RENORM = true;",
        params,
        "// a",
        "// b",
        "// kernel",
      ].join("\n"),
    );
  });

  test.each([0, 1, -1, 0.1, 1e-6, 3.4028234663852886e38, 1e-45, 1 / 3])(
    "the f32 %d reads back as itself",
    (value) => {
      const code = compose([], { X: { f32: value } }, [], "");
      const [, literal] = /const X = f32\(([^)]*)\);/.exec(code) ?? [];
      expect(Math.fround(Number(literal))).toBe(Math.fround(value));
    },
  );
});

describe("stripWgsl", () => {
  /** The longest first, as WGSL has it, so that two that grow together are seen. */
  const tokensOf = (code: string) =>
    [
      ...code.matchAll(/\/\/.*|\s+|([\w.]+|\/\*|<<=|>>=|<<|>>|&&|\|\||->|--|\+\+|[-+*/%&|^=!<>]=|[^\w\s])/g),
    ].flatMap(([, token]) => token ?? []);

  test("what is left of a shader", () => {
    const code = "// of f\r\n\n  fn f() -> i32 { // one\n\treturn 6 / 2 //// - -1\n  - -2; }  // last";
    expect(stripWgsl(code)).toBe("fn f()-> i32{\nreturn 6 / 2\n- -2;}");
  });

  test("the fields of the params are found", () => {
    expect(parseStruct(params, "Params").length).toBeGreaterThan(10);
    expect(parseStruct(stripWgsl(params), "Params")).toEqual(parseStruct(params, "Params"));
  });

  test("every shader keeps its tokens and nothing else", () => {
    const shaders = import.meta.glob<string>("../../shaders/**/*.wgsl", {
      query: "?raw",
      import: "default",
      eager: true,
    });
    expect(Object.keys(shaders).length).toBeGreaterThan(30);
    for (const [path, code] of Object.entries(shaders)) {
      const stripped = stripWgsl(code);
      expect(tokensOf(stripped), path).toEqual(tokensOf(code));
      expect(stripped, path).not.toMatch(/\/[/*]|^\s|\s$|\n\s/);
      expect(parseBindings(stripped), path).toEqual(parseBindings(code));
    }
  });
});
