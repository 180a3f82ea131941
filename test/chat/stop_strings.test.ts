import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { StopStrings } from "../../src/chat/stop_strings.ts";

/** What comes out for text cut into `pieces`, piece by piece, and whether a stop string ended it. */
function run(stops: readonly string[], pieces: readonly string[]) {
  const search = new StopStrings(stops);
  const out: string[] = [];
  for (const piece of pieces) {
    const { text, isStopped } = search.push(piece);
    out.push(text);
    if (isStopped) return { out, isStopped };
  }
  out.push(search.flush());
  return { out, isStopped: false };
}

/** The same by definition: the text grows by one character until it ends with a stop string, the longest of them. */
function expected(stops: readonly string[], text: string) {
  for (let end = 1; end <= text.length; end++) {
    const grown = text.slice(0, end);
    const lengths = stops.filter((stop) => grown.endsWith(stop)).map(({ length }) => length);
    if (lengths.length > 0) return { text: grown.slice(0, end - Math.max(...lengths)), isStopped: true };
  }
  return { text, isStopped: false };
}

/** `text` cut behind each character whose bit is set. */
function cut(text: string, bits: number): string[] {
  const pieces = [""];
  for (const [at, character] of [...text].entries()) {
    pieces.push(`${pieces.pop()}${character}`);
    if ((bits >> at) & 1) pieces.push("");
  }
  return pieces;
}

describe.each<[string, readonly string[]]>([
  ["one aab bbb", ["aab"]],
  ["aababaabb", ["abab", "bb"]],
  ["xxSTOPxx", ["STOP", "TO"]],
  ["xxSTOPxx", ["OPxxx", "Px"]],
  ["ab\n\nUser:", ["\nUser:", "\n\n"]],
  ["naïve 😀é!", ["😀é", "ve?"]],
  ["nothing", ["things", "g!"]],
  ["END", ["END"]],
  ["plain", []],
])("%j up to any of %j", (text, stops) => {
  test("the same however it is cut", () => {
    const wanted = expected(stops, text);
    const characters = [...text].length;
    for (let bits = 0; bits < 2 ** characters; bits++) {
      const { out, isStopped } = run(stops, cut(text, bits));
      expect({ text: out.join(""), isStopped }).toEqual(wanted);
    }
  });
});

const letters = (least: number, most: number) =>
  fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: least, maxLength: most });

test("any text, any stop strings, any cut", () => {
  const pieces = fc.array(letters(0, 5), { maxLength: 12 });
  fc.assert(
    fc.property(fc.array(letters(1, 5), { maxLength: 4 }), pieces, (stops, pieces) => {
      const { out, isStopped } = run(stops, pieces);
      expect({ text: out.join(""), isStopped }).toEqual(expected(stops, pieces.join("")));
    }),
    { numRuns: 3000 },
  );
});

test("nothing is held back but what may become a stop string", () => {
  fc.assert(
    fc.property(fc.array(letters(1, 5), { maxLength: 4 }), letters(0, 20), (stops, text) => {
      if (expected(stops, text).isStopped) return;
      const [given = ""] = run(stops, [text]).out;
      const held = text.slice(given.length);
      expect(held === "" || stops.some((stop) => stop.startsWith(held))).toBe(true);
      for (let length = held.length + 1; length <= text.length; length++) {
        expect(stops.some((stop) => stop.startsWith(text.slice(-length)))).toBe(false);
      }
    }),
    { numRuns: 2000 },
  );
});
