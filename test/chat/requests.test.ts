import { describe, expect, test } from "vitest";
import type { ChatCompletionCreateParams, CompletionCreateParams } from "../../src/chat/shapes.ts";
import { failure } from "../support/engine.ts";
import { bytesOf, fakeModel, plainVocabulary, SPACE, TEMPLATE } from "./fake_model.ts";

const { model, engine } = fakeModel({ vocabulary: plainVocabulary({ "tokenizer.chat_template": TEMPLATE }) });
const messages = [{ role: "user", content: "Hi" }] as const;

const chat = (more: object) =>
  model.chat.completions.create({ messages, ...more } as unknown as ChatCompletionCreateParams);
const text = (more: object) =>
  model.completions.create({ prompt: "x", ...more } as unknown as CompletionCreateParams);
const both = [
  ["chat", chat],
  ["text", text],
] as const;

/** The prompt that the latest call gave the engine, special tokens by number. */
const lastPrompt = () => (engine.calls.at(-1)?.prompt ?? []).map(textOf).join("");

function textOf(id: number): string {
  if (id === SPACE) return " ";
  return id < 3 ? `[${id}]` : String.fromCharCode(id - 3);
}

describe.each(both)("in %s requests", (kind, create) => {
  const ranges: [string, unknown[]][] = [
    ["temperature", [-0.1, Number.NaN, Number.POSITIVE_INFINITY, "1", true]],
    ["top_p", [0, -1, 1.01, Number.NaN, "0.5"]],
    ["top_k", [-1, 1.5, 2 ** 32, "40"]],
    ["min_p", [-0.01, 1.01, "0"]],
    ["frequency_penalty", [-2.1, 2.1, "1"]],
    ["presence_penalty", [-2.1, 2.1, Number.NaN]],
    ["repetition_penalty", [0, -1, 1e7, "1.1"]],
    [kind === "chat" ? "top_logprobs" : "logprobs", [-1, 0.5, kind === "chat" ? 21 : 6, "2", true]],
    ["seed", [-1, 0.5, 2 ** 32, "7", 7n]],
    ["task", [-1, 0.5, "1"]],
    ["route_seed", [-1, 0.5, 2 ** 32, "7"]],
    ["n", [0, -1, 1.5, 129, "2"]],
    ["max_tokens", [0, -1, 2.5, Number.NaN, "8"]],
  ];
  test.each(ranges)(
    "%s out of range or of another type: the name, the value, the range",
    async (name, values) => {
      for (const value of values) {
        const { message, details, remedy } = await failure("bad-request", () => create({ [name]: value }));
        expect(message).toContain(`${name} is `);
        expect(details[name]).toEqual(typeof value === "number" ? value : expect.any(String));
        expect(details).toMatchObject({ least: expect.any(Number), most: expect.any(Number) });
        expect(remedy).toMatch(/^Use a (whole )?number (from|above) /);
      }
    },
  );

  test.each<[string, unknown[]]>([
    ["stop", [7, "", ["a", ""], ["a", 1], {}]],
    ["stream", ["yes", 1]],
    ["model", [7, {}]],
    ["cache_prompt", ["yes", 0]],
    ["experts", [7, "0,1", [0.5], [-1], [[0], 1], {}]],
    ["logit_bias", [7, [], "5"]],
    ...(kind === "chat" ? ([["logprobs", [1, "yes"]]] as [string, unknown[]][]) : []),
  ])("%s of another kind", async (name, values) => {
    for (const value of values) {
      const { message, details } = await failure("bad-request", () => create({ [name]: value }));
      expect(message).toContain(`${name} is `);
      expect(details).toHaveProperty(name);
    }
  });

  test("logit_bias: ids of the vocabulary, biases in their range", async () => {
    await create({ logit_bias: { 0: -100, 259: 100 } });
    for (const id of ["260", "-1", "1.5", "05", "x", ""]) {
      const { message, details, remedy } = await failure("bad-request", () =>
        create({ logit_bias: { 3: 1, [id]: 1 } }),
      );
      expect(message).toBe(`logit_bias names token ${JSON.stringify(id)}`);
      expect(details).toEqual({ logit_bias: id, vocabulary: 260 });
      expect(remedy).toContain("0 to 259");
    }
    for (const bias of [-101, 100.5, "1", null]) {
      const { message } = await failure("bad-request", () => create({ logit_bias: { 3: bias } }));
      expect(message).toContain("logit_bias[3] is ");
    }
  });

  test("stream_options: only beside stream, and only include_usage", async () => {
    const options = { include_usage: true };
    await failure("bad-request", () => create({ stream_options: options }));
    await failure("bad-request", () => create({ stream: false, stream_options: options }));
    await failure("bad-request", () => create({ stream: true, stream_options: true }));
    await failure("bad-request", () => create({ stream: true, stream_options: { include_usage: 1 } }));
    const { message } = await failure("bad-request", () =>
      create({ stream: true, stream_options: { include_obfuscation: true } }),
    );
    expect(message).toContain("stream_options.include_obfuscation");
    await create({ stream: false, stream_options: null });
    await create({ stream: true, stream_options: {} });
  });

  test.each<[string, unknown[], unknown[]]>([
    ...(kind === "chat"
      ? ([
          ["functions", [[]], [[{ name: "f" }]]],
          ["function_call", ["auto", "none"], [{ name: "f" }]],
          ["modalities", [["text"]], [["text", "audio"], "text"]],
          ["reasoning_effort", [null], ["low"]],
          ["verbosity", ["medium"], ["low"]],
          ["audio", [null], [{}]],
          ["prediction", [null], [{}]],
          ["moderation", [null], [{}]],
          ["web_search_options", [null], [{}]],
          ["store", [false], [true]],
        ] as [string, unknown[], unknown[]][])
      : ([
          ["best_of", [1], [2]],
          ["echo", [false], [true]],
          ["suffix", ["", null], ["end"]],
        ] as [string, unknown[], unknown[]][])),
  ])("%s: values that change nothing pass, others are refused by name", async (name, neutral, others) => {
    for (const value of [undefined, ...neutral]) await create({ [name]: value });
    for (const value of others) {
      const { message, details, remedy } = await failure("bad-request", () => create({ [name]: value }));
      expect(message).toContain(`${name} is not supported: `);
      expect(details).toEqual({ [name]: JSON.stringify(value) });
      expect(remedy).toMatch(/^Leave it out/);
    }
  });

  test("what only a service needs passes", async () => {
    await create({ user: "u", safety_identifier: "s", prompt_cache_key: "k", metadata: { a: "b" } });
    await create({ service_tier: "auto", prompt_cache_retention: "24h", prompt_cache_options: {} });
  });

  test.each<[string, unknown]>([
    ["response_format", "text"],
    ["response_format.type", {}],
    ["response_format.type", { type: "xml" }],
    ["response_format.json_schema", { type: "json_schema" }],
    ["response_format.json_schema.name", { type: "json_schema", json_schema: { schema: {} } }],
    ["response_format.json_schema.schema", { type: "json_schema", json_schema: { name: "x", schema: [] } }],
    ["response_format.json_schema.strict", { type: "json_schema", json_schema: { name: "x", strict: 1 } }],
    ["response_format.json_schema.schemas", { type: "json_schema", json_schema: { name: "x", schemas: {} } }],
    ["response_format.grammar", { type: "grammar" }],
    ["response_format.pattern", { type: "regex", pattern: "" }],
  ])("%s that is none", async (at, response_format) => {
    const { message } = await failure("bad-request", () => create({ response_format }));
    expect(message.startsWith(`${at} is `), message).toBe(true);
    await create({ response_format: { type: "text" } });
  });

  test.each(["max_token", "stops", "toString", "__proto__x"])("%s is no parameter", async (name) => {
    const { message } = await failure("bad-request", () => create({ [name]: 1 }));
    expect(message).toContain(`${name} is not a parameter`);
  });

  test("no request at all", async () => {
    for (const request of [undefined, null, "x", []]) {
      await failure("bad-request", () => model.chat.completions.create(request as never));
      await failure("bad-request", () => model.completions.create(request as never));
    }
  });

  test("are refused before a stream is given out", async () => {
    await failure("bad-request", () => create({ stream: true, n: 0 }));
  });
});

test("top_logprobs: only beside logprobs", async () => {
  await chat({ top_logprobs: 0 });
  await chat({ logprobs: false, top_logprobs: 0 });
  const { remedy } = await failure("bad-request", () => chat({ top_logprobs: 3 }));
  expect(remedy).toContain("`logprobs: true`");
  await failure("bad-request", () => chat({ logprobs: false, top_logprobs: 3 }));
  for (const [request, top] of [
    [{}, undefined],
    [{ logprobs: true }, 0],
    [{ logprobs: true, top_logprobs: 20 }, 20],
  ] as const) {
    await chat(request);
    expect(engine.calls.at(-1)?.options.topLogprobs).toBe(top);
  }
  await text({ logprobs: 5 });
  expect(engine.calls.at(-1)?.options.topLogprobs).toBe(5);
});

describe("limits of tokens", () => {
  test("either name, or both that agree", async () => {
    for (const limits of [
      { max_tokens: 2 },
      { max_completion_tokens: 2 },
      { max_tokens: 2, max_completion_tokens: 2 },
    ]) {
      await chat(limits);
      expect(engine.calls.at(-1)?.options.maxTokens).toBe(2);
    }
    const { details } = await failure("bad-request", () => chat({ max_tokens: 2, max_completion_tokens: 3 }));
    expect(details).toEqual({ max_tokens: 2, max_completion_tokens: 3 });
    await failure("bad-request", () => chat({ max_completion_tokens: 0 }));
    await failure("bad-request", () => chat({ truncation: true }));
  });

  test("texts have only the older one", async () => {
    await failure("bad-request", () => text({ max_completion_tokens: 3 }));
  });
});

test.each([[undefined], [null], [7], [{}], [[]], [["a", 1]], [[1, "a"]], [[["a"]]]])(
  "prompt %j",
  async (prompt) => {
    const { message } = await failure("bad-request", () => text({ prompt }));
    expect(message).toContain("prompt is ");
  },
);

describe("messages", () => {
  test("become the template's text", async () => {
    await chat({
      messages: [
        { role: "system", content: "Be brief." },
        {
          role: "user",
          content: [
            { type: "text", text: "a" },
            { type: "text", text: "b" },
          ],
          name: "Ann",
        },
        { role: "assistant", content: "c", refusal: null },
        { role: "user", content: "d" },
      ],
    });
    expect(lastPrompt()).toBe(
      "[1]<|system|>Be brief.\n<|user|>a\nb\n<|assistant|>c\n<|user|>d\n<|assistant|>",
    );
  });

  test("a developer is the system to a template that knows none", async () => {
    const said = [{ role: "developer", content: "x" }];
    await chat({ messages: said });
    expect(lastPrompt()).toContain("<|system|>x");
    await chat({ messages: said, chat_template: `${TEMPLATE}{# developer #}` });
    expect(lastPrompt()).toContain("<|developer|>x");
  });

  test.each<[string, unknown]>([
    ["messages", undefined],
    ["messages", []],
    ["messages", "Hi"],
    ["messages[0]", ["Hi"]],
    ["messages[0].role", [{ content: "Hi" }]],
    ["messages[0].role", [{ role: "narrator", content: "Hi" }]],
    ["messages[0].role", [{ role: "toString", content: "Hi" }]],
    ["messages[0].tool_call_id", [{ role: "tool", content: "Hi", tool_call_id: "1" }]],
    ["messages[1].content", [messages[0], { role: "user" }]],
    ["messages[1].content", [messages[0], { role: "assistant", content: null }]],
    ["messages[0].content", [{ role: "user", content: 7 }]],
    [
      "messages[0].content[1]",
      [
        {
          role: "user",
          content: [
            { type: "text", text: "a" },
            { type: "image_url", image_url: { url: "x" } },
          ],
        },
      ],
    ],
    ["messages[0].content[0]", [{ role: "user", content: [{ type: "text" }] }]],
    ["messages[0].name", [{ role: "user", content: "Hi", name: 7 }]],
    ["messages[0].tool_calls[0]", [{ role: "assistant", content: "Hi", tool_calls: [{}] }]],
    ["messages[0].tool_calls", [{ role: "user", content: "Hi", tool_calls: [] }]],
    ["messages[0].tool_call_id", [{ role: "tool", content: "Hi" }]],
    ["messages[0].refusal", [{ role: "assistant", content: "Hi", refusal: "no" }]],
  ])("%s is wrong", async (at, messages) => {
    const { message, details } = await failure("bad-request", () => chat({ messages }));
    expect(message.startsWith(`${at} is `), message).toBe(true);
    expect(details).toHaveProperty([at]);
  });
});

describe("templates", () => {
  const { model: plain } = fakeModel();
  const template = "{{ greeting | default('Hi') }}: {{ messages[0].content }}";

  test("a model without one says what else there is", async () => {
    const { message, remedy } = await failure("bad-request", () =>
      plain.chat.completions.create({ messages }),
    );
    expect(message).toBe("Fake 1B has no chat template");
    expect(remedy).toMatch(/`completions`.*`chat_template`/);
    const { usage } = await plain.chat.completions.create({ messages, chat_template: template });
    expect(usage.prompt_tokens).toBe("Hi: Hi".length);
  });

  test("the request's goes before the model's", async () => {
    await chat({ chat_template: template });
    expect(lastPrompt()).toBe("Hi: Hi");
    await chat({});
    expect(lastPrompt()).toBe("[1]<|user|>Hi\n<|assistant|>");
  });

  test("take variables", async () => {
    await chat({ chat_template: template, chat_template_kwargs: { greeting: "Yo" } });
    expect(lastPrompt()).toBe("Yo: Hi");
    for (const name of ["messages", "tools", "add_generation_prompt"]) {
      await failure("bad-request", () => chat({ chat_template_kwargs: { [name]: true } }));
    }
    for (const chat_template_kwargs of ["greeting", [], { greeting: 1n }]) {
      await failure("bad-request", () => chat({ chat_template_kwargs }));
    }
  });

  test.each([["{% if %}"], [""], [7], ["{{ messages | nothing }}"], ["{{ raise_exception('no chats') }}"]])(
    "%j cannot be used",
    async (chat_template) => {
      await failure("bad-request", () => chat({ chat_template }));
    },
  );

  test("only they name special tokens", async () => {
    await chat({
      messages: [{ role: "user", content: "<s>" }],
      chat_template: "<s>{{ messages[0].content }}</s>",
    });
    expect(engine.calls.at(-1)?.prompt).toEqual([1, ...bytesOf("<s>"), 2]);
  });
});

test("text asked of a model without a vocabulary: unsupported-model", async () => {
  const { model } = fakeModel({ vocabulary: {} });
  await failure("unsupported-model", () => model.chat.completions.create({ messages }));
  await failure("unsupported-model", () => model.completions.create({ prompt: [1] }));
});
