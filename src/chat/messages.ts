import { asText, badRequest, isAbsent, isObject, refuse } from "./check.ts";
import type { ChatCompletionMessageParam } from "./shapes.ts";

type Role = ChatCompletionMessageParam["role"];

/** A message whose content is one text. */
export interface PlainMessage {
  readonly role: Role;
  readonly content: string;
  readonly name?: string;
}

const ROLES: Readonly<Record<Role, true>> = { system: true, developer: true, user: true, assistant: true };
/** Fields that a message may have. `refusal` is there in messages that are sent back as they came. */
const FIELDS = new Set(["role", "content", "name", "refusal"]);

/** @throws SluiceError `bad-request` that names the message and what is wrong with it */
export function readMessages(messages: unknown): PlainMessage[] {
  if (!Array.isArray(messages) || messages.length === 0) {
    refuse("messages", messages, "Give a list of at least one message.");
  }
  return messages.map((message, index) => readMessage(message, `messages[${index}]`));
}

function readMessage(message: unknown, at: string): PlainMessage {
  if (!isObject(message)) return refuse(at, message, "Use an object with `role` and `content`.");
  const { role, content, name } = message;
  if (typeof role !== "string" || !Object.hasOwn(ROLES, role)) {
    refuse(`${at}.role`, role, `Use one of ${Object.keys(ROLES).join(", ")}.`);
  }
  for (const [field, value] of Object.entries(message)) {
    if (isAbsent(value) || (FIELDS.has(field) && field !== "refusal")) continue;
    throw badRequest(`${at}.${field} is not supported`, "Leave it out; messages are text.", {
      [`${at}.${field}`]: asText(value),
    });
  }
  if (!isAbsent(name) && typeof name !== "string") refuse(`${at}.name`, name, "Use a text.");
  const text = readContent(content, `${at}.content`);
  return { role: role as Role, content: text, ...(!isAbsent(name) && { name }) };
}

function readContent(content: unknown, at: string): string {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return refuse(at, content, "Use a text, or a list of parts of text.");
  const texts = content.map((part: unknown, index) => {
    if (isObject(part) && part.type === "text" && typeof part.text === "string") return part.text;
    return refuse(
      `${at}[${index}]`,
      part,
      'Use { type: "text", text }; images, sounds and files are not read.',
    );
  });
  return texts.join("\n");
}
