import Ajv from "ajv";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Model } from "../../src/language_model.ts";
import { failure, loadInline } from "../support/engine.ts";
import { tinyStoriesModel } from "../support/golden.ts";

/** A model of stories that never saw JSON: what it writes is what it is held to. */
let model: Model;
beforeAll(async () => {
  model = await loadInline(tinyStoriesModel(), { contextTokens: 128 });
});
afterAll(() => model.dispose());

const messages = [{ role: "user", content: "once" }] as const;
const chat_template = "{{ messages[-1].content }}";
const RUNS = 100;

/** Small, since the model makes some tens of tokens a second on a software adapter. */
const nested = {
  type: "object",
  properties: { b: { type: "boolean" } },
  required: ["b"],
  additionalProperties: false,
};
const SCHEMAS: object[] = [
  { type: "object", properties: { a: nested }, required: ["a"], additionalProperties: false },
  {
    type: "object",
    properties: { s: { type: "string", maxLength: 3 } },
    required: ["s"],
    additionalProperties: false,
  },
  { type: "array", items: { type: "integer", minimum: 0, maximum: 150 }, minItems: 1, maxItems: 2 },
  { type: "array", items: { enum: ["x", null, 2] }, minItems: 1, maxItems: 3 },
];

/** Of twenty runs those below the first share are of the first schema, and so on: the first two take long. */
const SHARES = [1, 2, 11, 20];

test(`JSON of a schema, ${RUNS} times of ${RUNS}`, async () => {
  const ajv = new Ajv({ allowUnionTypes: true });
  const checks = SCHEMAS.map((schema) => ajv.compile(schema));
  const texts = new Set<string>();
  for (let seed = 0; seed < RUNS; seed++) {
    const which = SHARES.findIndex((share) => seed % 20 < share);
    const schema = SCHEMAS[which];
    const { choices } = await model.chat.completions.create({
      messages,
      chat_template,
      seed,
      temperature: 1,
      max_tokens: 60,
      response_format: { type: "json_schema", json_schema: { name: "answer", schema, strict: true } },
    });
    const [choice] = choices;
    const text = choice?.message.content ?? "";
    expect(choice?.finish_reason, text).toBe("stop");
    expect(checks[which]?.(JSON.parse(text)), text).toBe(true);
    texts.add(text);
  }
  expect(texts.size).toBeGreaterThan(RUNS / 8);
});

test("a call of a function, as Hermes writes it; a regular expression; a grammar that is none", async () => {
  const tool = {
    name: "look",
    parameters: { type: "object", properties: { far: { type: "boolean" } }, required: ["far"] },
  };
  const { choices } = await model.chat.completions.create({
    messages,
    chat_template: "{{ messages[-1].content }}{% if tools %}<tool_call>{% endif %}",
    seed: 3,
    tools: [{ type: "function", function: tool }],
    tool_choice: "required",
    parallel_tool_calls: false,
  });
  expect(choices[0]?.finish_reason).toBe("tool_calls");
  const [call] = choices[0]?.message.tool_calls ?? [];
  expect(call?.function).toMatchObject({
    name: "look",
    arguments: expect.stringMatching(/^\{"far": (true|false)\}$/),
  });

  const format = { type: "regex", pattern: "[a-f]{3} [0-9]" } as const;
  const text = await model.completions.create({ prompt: "once", seed: 4, response_format: format });
  expect(text.choices[0]?.text).toMatch(/^[a-f]{3} [0-9]$/);
  const { message } = await failure("bad-request", () =>
    model.completions.create({
      prompt: "once",
      response_format: { type: "grammar", grammar: 'start ::= "a"' },
    }),
  );
  expect(message).toContain('The root rule with name "root" is not found');
});
