/** A stretch of a rendered prompt. */
export interface TemplatedSegment {
  readonly text: string;
  /** The template wrote it, so it may name special tokens. What came in with the messages may not. */
  readonly isTrusted: boolean;
}

/** A node of a parsed template, as far as it matters here. */
export interface TemplateNode {
  readonly type: string;
  readonly [key: string]: unknown;
}

interface StringLiteral extends TemplateNode {
  value: string;
}

/** A text that a template writes, or builds what it writes from. */
export interface WrittenText {
  readonly literal: StringLiteral;
  readonly text: string;
  /** It is the value of a variable, or in its list, that is compared somewhere, perhaps with what is given. */
  readonly isCompared: boolean;
}

/** What a template says itself, as opposed to what it is given. */
export interface TemplateTexts {
  readonly written: readonly WrittenText[];
  /** Single words it mentions. Whoever compares them compares them with what is given, so they are never marked. */
  readonly words: ReadonlySet<string>;
}

/** Those that templates put between halves of special tokens, as in `<|{{ role }}|>`. */
const ROLES = ["system", "developer", "user", "assistant", "tool", "function", "observation", "ipython"];

const WORD = /^[\w-]+$/;

/** Methods and filters whose arguments are compared or looked up, never written. */
const INSPECTING = new Set(
  (
    "split rsplit startswith endswith strip lstrip rstrip trim find index count removeprefix removesuffix " +
    "selectattr rejectattr select reject map sort groupby unique dictsort attr tojson indent " +
    "strftime_now raise_exception"
  ).split(" "),
);
/** Those of which only the first argument is. */
const INSPECTING_FIRST = new Set(["replace", "get", "pop", "setdefault"]);
/** Operators that keep their operands' text. */
const JOINING = new Set<unknown>(["+", "~", "and", "or"]);

/** Finds the texts of a parsed template. */
export function textsOf(program: TemplateNode): TemplateTexts {
  const found: { literal: StringLiteral; variable: string | undefined }[] = [];
  const compared = new Set<string>();
  const words = new Set(ROLES);
  const visit = (node: TemplateNode, isWritten: boolean, variable?: string): void => {
    if (!isLiteral(node)) {
      if (node.type === "Identifier" && !isWritten) compared.add(String(node.value));
      const of =
        node.type === "Set" ? nameOf(node.assignee as TemplateNode) : isList(node) ? variable : undefined;
      for (const [child, mayWrite] of childrenOf(node)) visit(child, isWritten && mayWrite, of);
    } else if (WORD.test(node.value)) words.add(node.value);
    else if (isWritten) found.push({ literal: node, variable });
  };
  visit(program, true);
  const written = found.map(({ literal, variable }) => {
    const isCompared = variable !== undefined && compared.has(variable);
    return { literal, text: literal.value, isCompared };
  });
  return { written, words };
}

function isLiteral(node: TemplateNode): node is StringLiteral {
  return node.type === "StringLiteral";
}

function isList({ type }: TemplateNode): boolean {
  return type === "ArrayLiteral" || type === "TupleLiteral";
}

/** The children of a node, and whether their text may end in what the template writes. */
function childrenOf(node: TemplateNode): [TemplateNode, boolean][] {
  const all = (mayWrite: boolean, ...keys: string[]) =>
    keys.flatMap((key) => nodesIn(node[key]).map((child): [TemplateNode, boolean] => [child, mayWrite]));
  switch (node.type) {
    case "BinaryExpression": {
      const { value } = node.operator as { readonly value: string };
      return all(JOINING.has(value), "left", "right");
    }
    case "MemberExpression":
      return [...all(true, "object"), ...all(false, "property")];
    case "CallExpression": {
      const name = calledName(node.callee as TemplateNode);
      const args = nodesIn(node.args).map((child, index): [TemplateNode, boolean] => [
        child,
        !INSPECTING.has(name) && !(INSPECTING_FIRST.has(name) && index === 0),
      ]);
      return [...all(true, "callee"), ...args];
    }
    case "TestExpression":
      return all(false, "operand", "test");
    case "If":
    case "SelectExpression":
    case "Ternary":
      return [
        ...all(false, "test", "condition"),
        ...all(true, "body", "alternate", "lhs", "trueExpr", "falseExpr"),
      ];
    case "ObjectLiteral": {
      const entries = [...(node.value as ReadonlyMap<TemplateNode, TemplateNode>)];
      return entries.flatMap(([key, value]): [TemplateNode, boolean][] => [
        [key, false],
        [value, true],
      ]);
    }
    default:
      return all(true, ...Object.keys(node));
  }
}

function calledName(callee: TemplateNode): string {
  return nameOf(callee.type === "MemberExpression" ? (callee.property as TemplateNode) : callee) ?? "";
}

function nameOf(node: TemplateNode): string | undefined {
  return node.type === "Identifier" ? String(node.value) : undefined;
}

function nodesIn(value: unknown): TemplateNode[] {
  return (Array.isArray(value) ? value : [value]).filter(
    (item) => typeof item === "object" && item !== null && typeof item.type === "string",
  );
}

const FIRST_PRIVATE = 0xe000;
const LAST_PRIVATE = 0xf8ff;

/** Stands in for text character by character, in characters that nothing else uses. */
export interface Marks {
  mark(text: string): string;
  /** The stretches of `marked`, in order and with their own characters again. */
  unmark(marked: string): TemplatedSegment[];
}

/**
 * Marks for all characters of `texts` but white space, which templates trim. They are private-use characters that
 * `taken` has none of.
 * @returns `undefined` where `taken` leaves too few.
 */
export function marksFor(
  texts: readonly string[],
  taken: string,
  words: ReadonlySet<string>,
): Marks | undefined {
  const used = new Set(taken.match(/[\uE000-\uF8FF]/g));
  const marks = new Map<string, string>();
  const originals = new Map<string, string>();
  let next = FIRST_PRIVATE;
  // Code units, so that lengths and slices stay what they are.
  for (const unit of new Set(texts.join("").replace(/\s+/g, "").split(""))) {
    while (used.has(String.fromCharCode(next))) next++;
    if (next > LAST_PRIVATE) return undefined;
    const mark = String.fromCharCode(next++);
    marks.set(unit, mark);
    originals.set(mark, unit);
  }
  return {
    mark: (text) => Array.from(text.split(""), (unit) => marks.get(unit) ?? unit).join(""),
    unmark: (marked) => segmentsOf(marked, originals, words),
  };
}

/** White space and the template's own words between its texts count as the template's. */
function segmentsOf(
  marked: string,
  originals: ReadonlyMap<string, string>,
  words: ReadonlySet<string>,
): TemplatedSegment[] {
  const segments: { text: string; isTrusted: boolean }[] = [];
  const append = (text: string, isTrusted: boolean): void => {
    const last = segments.at(-1);
    if (last?.isTrusted === isTrusted) last.text += text;
    else segments.push({ text, isTrusted });
  };
  for (let at = 0; at < marked.length; ) {
    const isMarked = originals.has(marked[at] as string);
    let end = at + 1;
    while (end < marked.length && originals.has(marked[end] as string) === isMarked) end++;
    const run = marked.slice(at, end);
    if (isMarked) append(Array.from(run, (mark) => originals.get(mark)).join(""), true);
    else append(run, /^\s*$/.test(run) || words.has(run));
    at = end;
  }
  return segments;
}
