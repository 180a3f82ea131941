/** Checks the walls of ARCHITECTURE.md, section 1, on source text. Comments may say anything. */
import { posix } from "node:path";
import { parseSync } from "vite";

/** Text of source files by path from the repository's root, such as `src/gpu/gpu.ts`. */
export type Sources = ReadonlyMap<string, string>;

/** An area of `src/` may import from areas in earlier rows, never from its own row or a later one. */
const LAYERS = [
  ["errors"],
  ["quant", "wire"],
  ["source"],
  ["api"],
  ["text", "store", "gpu", "series"],
  ["experts", "kernels", "chat", "conversations", "routing"],
  ["model", "meter", "language_model"],
  ["engine"],
  ["client", "inline", "serve"],
  ["serve_either"],
  ["index"],
];
const PAGE_SIDE = ["index", "client", "text", "chat", "series"];
const GPU_SIDE = ["gpu", "kernels", "model", "engine"];

const CREATES_GPU_OBJECTS =
  /^create(Buffer|BindGroup|BindGroupLayout|PipelineLayout|ShaderModule|QuerySet|(Compute|Render)Pipeline(Async)?)$/;
const IMPURE = ["fetch", "indexedDB", "navigator", "performance", "XMLHttpRequest", "localStorage"];
const IMPURE_MEMBERS = [
  ["Date", "now"],
  ["Math", "random"],
];
const PURE = /^src\/(text\/|quant\/|experts\/|model\/(plan|moe_plan|runnable|rope)\.ts$|model\/archs\/)/;
const KNOWS_FAMILIES = /^src\/(model\/archs|text)\//;
const FAMILY =
  /(qwen|mixtral|mistral|deepseek|olmoe|granite|gpt[-_]?oss|dbrx|phi_?moe|bailing|ernie|afmoe|lfm2|smallthinker|glm4|dots1|minimax|hunyuan|exaone|mellum|grok|cohere|llama(?!\.cpp|pipe|-gguf))/i;

export const WORKER_LINES = 20;

/** Every breach, as one sentence that names the file. */
export function checkWalls(sources: Sources): string[] {
  const files = [...sources].map(([path, text]) => parseFile(path, text));
  return [
    ...files.flatMap(upwardImports),
    ...pageReachesGpu(files),
    ...files.flatMap(forbiddenWords),
    ...files.flatMap(({ path, lines }) =>
      path.startsWith("workers/") && lines > WORKER_LINES
        ? [`${path} has ${lines} lines; a worker file has at most ${WORKER_LINES}`]
        : [],
    ),
  ];
}

interface ParsedFile {
  readonly path: string;
  readonly lines: number;
  /** Files this one imports, types included, by path from the root; without packages. */
  readonly imports: readonly string[];
  readonly identifiers: ReadonlySet<string>;
  /** `object.property`, both plain names. */
  readonly members: ReadonlySet<string>;
  readonly strings: ReadonlySet<string>;
}

interface Node {
  readonly type: string;
  readonly [key: string]: unknown;
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && typeof (value as Node).type === "string";
}

function* walk(node: Node): Generator<Node> {
  yield node;
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) yield* walk(child);
  }
}

function parseFile(path: string, text: string): ParsedFile {
  const { program, errors } = parseSync(path, text);
  if (errors.length > 0) throw new Error(`${path} does not parse: ${errors[0]?.message}`);
  const imports: string[] = [];
  const identifiers = new Set<string>();
  const members = new Set<string>();
  const strings = new Set<string>();
  for (const node of walk(program as unknown as Node)) {
    const { source } = node;
    if (isNode(source) && typeof source.value === "string" && source.value.startsWith(".")) {
      imports.push(posix.join(posix.dirname(path), source.value));
    }
    if (node.type === "Identifier") identifiers.add(node.name as string);
    else if (node.type === "Literal" && typeof node.value === "string") strings.add(node.value);
    else if (node.type === "TemplateElement") strings.add((node.value as { raw: string }).raw);
    else if (node.type === "MemberExpression" && isNode(node.object) && isNode(node.property)) {
      members.add(`${node.object.name}.${node.property.name}`);
    }
  }
  return { path, lines: text.trimEnd().split("\n").length, imports, identifiers, members, strings };
}

/** `src/gpu/gpu.ts` and `src/gpu.ts` are both of the area `gpu`. */
function areaOf(path: string): string | undefined {
  return /^src\/([^/.]+)/.exec(path)?.[1];
}

function layerOf(area: string): number {
  return LAYERS.findIndex((row) => row.includes(area));
}

function upwardImports({ path, imports }: ParsedFile): string[] {
  const area = areaOf(path);
  if (area === undefined) return [];
  if (layerOf(area) < 0) return [`${path} is in no layer; give ${area} a row in scripts/walls.ts`];
  return imports.flatMap((imported) => {
    const target = areaOf(imported);
    if (target === undefined || target === area || layerOf(target) < layerOf(area)) return [];
    return [`${path} imports ${imported}: ${area} may not know ${target}`];
  });
}

/** Follows imports from the page side; a worker's code is another side, and only its address crosses. */
function pageReachesGpu(files: readonly ParsedFile[]): string[] {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const reached = new Map<string, string>();
  const next = files
    .map(({ path }) => path)
    .filter((path) => PAGE_SIDE.includes(areaOf(path) ?? ""))
    .map((path) => [path, path] as const);
  for (let step = next.pop(); step !== undefined; step = next.pop()) {
    const [path, trail] = step;
    if (reached.has(path)) continue;
    reached.set(path, trail);
    const imports = byPath.get(path)?.imports ?? [];
    next.push(...imports.map((imported) => [imported, `${trail} → ${imported}`] as const));
  }
  return [...reached]
    .filter(([path]) => GPU_SIDE.includes(areaOf(path) ?? ""))
    .map(([path, trail]) => `the page side reaches ${path}: ${trail}`);
}

function forbiddenWords({ path, identifiers, members, strings }: ParsedFile): string[] {
  const breaches: string[] = [];
  if (!path.startsWith("src/gpu/")) {
    const made = [...identifiers].filter((name) => CREATES_GPU_OBJECTS.test(name));
    breaches.push(...made.map((name) => `${path} calls ${name}; only src/gpu creates WebGPU objects`));
  }
  if (PURE.test(path)) {
    const names = IMPURE.filter((name) => identifiers.has(name));
    const uses = IMPURE_MEMBERS.map((pair) => pair.join(".")).filter((member) => members.has(member));
    breaches.push(...[...names, ...uses].map((name) => `${path} uses ${name}, but is pure`));
  }
  if (path.startsWith("src/") && !KNOWS_FAMILIES.test(path)) {
    const named = [...identifiers, ...strings].filter((word) => FAMILY.test(word));
    breaches.push(...named.map((word) => `${path} names a model family: ${JSON.stringify(word)}`));
  }
  return breaches;
}

/** Kernels by their stem: `shaders/x.wgsl`, `src/kernels/x.ts`, `test/kernels/x.browser.test.ts`. */
export function checkKernelStems(paths: ReadonlySet<string>): string[] {
  return [...paths].flatMap((path) => {
    const stem = /^shaders\/([^/]+)\.wgsl$/.exec(path)?.[1];
    if (stem === undefined) return [];
    return [`src/kernels/${stem}.ts`, `test/kernels/${stem}.browser.test.ts`]
      .filter((partner) => !paths.has(partner))
      .map((partner) => `${path} has no ${partner}`);
  });
}
