import { SluiceError } from "../errors.ts";
import type { Metadata } from "../source/model_file.ts";
import {
  type ChatTemplate,
  chatTemplate,
  encodeTemplated,
  type TemplatedText,
} from "../text/chat_template.ts";
import type { TextModel } from "./answer.ts";
import { badRequest } from "./check.ts";
import type { PlainMessage } from "./messages.ts";

/** A vocabulary's file of this name goes before its other templates. */
const GIVEN = "chat_template.jinja";

export interface ChatPrompt {
  readonly messages: readonly PlainMessage[];
  /** Used in place of the model's own. */
  readonly template: string | undefined;
  /** Further variables of the template, by name. */
  readonly variables: Readonly<Record<string, unknown>>;
}

/**
 * Ids of the tokens of a chat, up to where the assistant's answer begins.
 * @throws SluiceError `bad-request` if there is no template or it refuses the messages, `unsupported-model` if the model's
 * own does not work or there is no vocabulary
 */
export type EncodeChat = (chat: ChatPrompt) => Promise<readonly number[]>;

/** A template, and whether it knows developers; others take what those say from the system. */
interface KnownTemplate {
  readonly template: ChatTemplate;
  readonly knowsDeveloper: boolean;
}

/** How chats become tokens for a model with this vocabulary. Its template is read when the first chat asks for it. */
export function chatEncoder(model: TextModel, vocabulary: Metadata): EncodeChat {
  let own: KnownTemplate | undefined;
  const ownTemplate = (): KnownTemplate => {
    own ??= templateOf(vocabulary);
    if (own) return own;
    throw badRequest(
      `${model.info.name} has no chat template`,
      "Use `completions`, which continues texts, or give the request a `chat_template`.",
    );
  };
  return async (chat) => {
    const tokenizer = model.tokenizer();
    const text = await (chat.template === undefined
      ? render(ownTemplate(), chat)
      : renderGiven({ ...vocabulary, [GIVEN]: chat.template }, chat));
    return encodeTemplated(tokenizer, text);
  };
}

/** By a template that came with the request, whose faults are the request's. */
async function renderGiven(vocabulary: Metadata, chat: ChatPrompt): Promise<TemplatedText> {
  try {
    return await render(templateOf(vocabulary) as KnownTemplate, chat);
  } catch (error) {
    if (!(error instanceof SluiceError) || error.code !== "unsupported-model") throw error;
    throw new SluiceError("bad-request", `chat_template cannot be used: ${error.message}`, {
      remedy: "Correct the template, or leave it out to use the model's own.",
      cause: error,
    });
  }
}

function templateOf(vocabulary: Metadata): KnownTemplate | undefined {
  const template = chatTemplate(vocabulary);
  const sources = Object.entries(vocabulary).filter(([key]) => /chat_template|tokenizer_config/.test(key));
  const knowsDeveloper = sources.some(([, source]) => String(source).includes("developer"));
  return template && { template, knowsDeveloper };
}

async function render(
  { template, knowsDeveloper }: KnownTemplate,
  { messages, variables }: ChatPrompt,
): Promise<TemplatedText> {
  const known = messages.map(({ role, ...message }) => ({
    ...message,
    role: role === "developer" && !knowsDeveloper ? "system" : role,
  }));
  return template.render(known, { ...variables, addGenerationPrompt: true });
}
