import { expect, test } from "vitest";
import { countTests } from "../../scripts/count_tests.mjs";

const passing = { status: "passed", assertionResults: [{ status: "passed" }, { status: "passed" }] };
const failing = { status: "failed", assertionResults: [{ status: "passed" }, { status: "failed" }] };
const broken = { status: "failed", assertionResults: [] };

type Case = [string, Parameters<typeof countTests>[0], number, [number, number]];

test.each<Case>([
  ["all passed", { numPassedTests: 2, numFailedTests: 0, testResults: [passing] }, 0, [2, 0]],
  ["one failed", { numPassedTests: 3, numFailedTests: 1, testResults: [passing, failing] }, 1, [3, 1]],
  [
    "a file did not load",
    { numPassedTests: 2, numFailedTests: 0, testResults: [passing, broken] },
    1,
    [2, 1],
  ],
  ["an error outside all tests", { numPassedTests: 2, numFailedTests: 0, testResults: [passing] }, 1, [2, 1]],
  ["no report", undefined, 1, [0, 1]],
])("%s", (_, report, exitStatus, [passed, failed]) => {
  expect(countTests(report, exitStatus)).toEqual({ passed, failed });
});
