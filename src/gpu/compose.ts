import params from "../../shaders/lib/params.wgsl?raw";

/** Values for the `const` prelude of a shader. Integers become u32, unless written as a literal string. */
export type Constants = Readonly<Record<string, number | boolean | { readonly f32: number }>>;

/**
 * One shader: directives, constants, snippets, kernel, joined in this order and nothing else done to them.
 * Snippets refer to each other and to the kernel's bindings by name; WGSL does not mind the order.
 */
export function compose(
  enable: readonly GPUFeatureName[],
  constants: Constants,
  snippets: readonly string[],
  kernel: string,
): string {
  const directives = enable.map((feature) => `enable ${feature};`);
  const prelude = Object.entries(constants).map(([name, value]) => `const ${name} = ${literal(value)};`);
  return [...directives, ...prelude, params, ...new Set(snippets), kernel].join("\n");
}

function literal(value: Constants[string]): string {
  if (typeof value === "boolean") return String(value);
  if (typeof value === "number") return `${value}u`;
  // A decimal that reads back as exactly this f32.
  return `f32(${Math.fround(value.f32).toExponential()})`;
}
