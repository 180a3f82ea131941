import { describe } from "vitest";
import { requestAdapter } from "../support/gpu.ts";

/** The kernels' tests on Dawn's adapter: another driver and another subgroup size than the browser's. */
const suites = import.meta.glob("../kernels/*.browser.test.ts");

const adapter = await requestAdapter().catch(() => null);

describe.runIf(adapter !== null)(`kernels on ${adapter?.info.description ?? "no adapter"}`, async () => {
  for (const load of Object.values(suites)) await load();
});
