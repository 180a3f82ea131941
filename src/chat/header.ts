import type { ModelInfo } from "../api.ts";
import type { AnswerHeader } from "./shapes.ts";

/** A new answer's id, with the prefix of its kind, and when it was begun. */
export function answerHeader(prefix: string, { name }: Pick<ModelInfo, "name">): AnswerHeader {
  return {
    id: `${prefix}-${crypto.randomUUID().replaceAll("-", "")}`,
    created: Math.floor(Date.now() / 1000),
    model: name,
  };
}
