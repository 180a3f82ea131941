import { expect, test, vi } from "vitest";
import { askToPersist } from "../../src/store/persist.ts";

test("the browser is asked once to keep what is stored; a refusal is taken", async () => {
  vi.spyOn(navigator.storage, "persisted").mockResolvedValue(false);
  const persist = vi.spyOn(navigator.storage, "persist").mockRejectedValue(new TypeError("no"));
  await askToPersist();
  await askToPersist();
  expect(persist).toHaveBeenCalledTimes(1);
  vi.restoreAllMocks();
});
