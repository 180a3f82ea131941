export * from "./adjust.ts";
export * from "./attention.ts";
export * from "./dense.ts";
export * from "./moe.ts";
export * from "./normal.ts";
export * from "./pageless.ts";
export * from "./sample.ts";
