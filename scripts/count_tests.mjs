/**
 * `node scripts/count_tests.mjs report.json status` prints how many tests passed and how many failed, as two
 * numbers, from Vitest's JSON report and its exit status.
 */
import { existsSync, readFileSync } from "node:fs";
import process from "node:process";

/**
 * @typedef {object} Report
 * @property {number} numPassedTests
 * @property {number} numFailedTests
 * @property {{ status: string, assertionResults: { status: string }[] }[]} testResults
 */

/**
 * A file that does not load counts as one failure, and so does a run that fails in no test (an error outside all
 * tests, no browser).
 * @param {Report | undefined} report
 * @param {number} exitStatus
 */
export function countTests(report, exitStatus) {
  if (report === undefined) return { passed: 0, failed: 1 };
  const brokenFiles = report.testResults.filter(
    (file) => file.status === "failed" && file.assertionResults.every(({ status }) => status !== "failed"),
  );
  const failed = report.numFailedTests + brokenFiles.length;
  return { passed: report.numPassedTests, failed: failed === 0 && exitStatus !== 0 ? 1 : failed };
}

if (process.argv[1]?.endsWith("count_tests.mjs")) {
  const [, , path = "", exitStatus] = process.argv;
  const report = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : undefined;
  const { passed, failed } = countTests(report, Number(exitStatus));
  console.log(`${passed} ${failed}`);
}
