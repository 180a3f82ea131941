import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { SluiceError } from "../../src/errors.ts";
import { callerFolder } from "./model_place.ts";

const REMEDY = "Give --series a JSON list of numbers, a number a line, or a table and --column.";

export interface SeriesFile {
  /** Those of a point one after the other. */
  readonly numbers: number[];
  /** Numbers of a point, where the file says which belong together. */
  readonly size: number | undefined;
}

/** @throws SluiceError `bad-request` */
export function readSeriesFile(file: string, column?: string): SeriesFile {
  const path = resolve(callerFolder, file);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw refused(`cannot read ${path}`, cause);
  }
  return readSeries(text, column);
}

/** @param column of a table: its name in the first line, or its number from 1 on */
export function readSeries(text: string, column?: string): SeriesFile {
  const isJson = /^\s*[[{]/.test(text);
  if (!isJson) return { numbers: readTable(text, column), size: undefined };
  if (column !== undefined) throw refused("JSON has no columns");
  let value: unknown;
  try {
    // Without the mark of byte order that some programs begin a file with.
    value = JSON.parse(text.trim());
  } catch (cause) {
    throw refused(`its ${text.length} characters are not JSON`, cause);
  }
  const list = Array.isArray(value) ? value : (value as { readonly series?: unknown }).series;
  if (!Array.isArray(list)) throw refused("it has no list called series");
  const widths = new Set(list.map((point: unknown) => (Array.isArray(point) ? point.length : -1)));
  if (widths.size > 1) throw refused("its points have different numbers of numbers");
  const [width = -1] = widths;
  const numbers = list.flat().map((number: unknown, i) => {
    if (typeof number === "number") return number;
    throw refused(`item ${i} is ${JSON.stringify(number)}, not a number`);
  });
  // One list in a list is a batch of one series as well as one point.
  return { numbers, size: width === -1 || list.length === 1 ? undefined : width };
}

function readTable(text: string, column: string | undefined): number[] {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
  const separator = [";", "\t", ","].find((one) => lines[0]?.includes(one)) ?? ",";
  const rows = lines.map((line) =>
    line.split(separator).map((cell) => cell.trim().replace(/^"(.*)"$/, "$1")),
  );
  const [first = []] = rows;
  // A list on one line.
  if (rows.length === 1 && column === undefined) return first.map((cell, i) => numberIn(cell, 1, i));
  const uneven = rows.findIndex((row) => row.length !== first.length);
  if (uneven !== -1) {
    throw refused(`line ${uneven + 1} has ${rows[uneven]?.length} columns, line 1 has ${first.length}`);
  }
  const at = columnOf(first, column);
  const hasName = !isNumber(first[at] ?? "");
  if (!hasName && !first.every(isNumber)) {
    throw refused(`line 1 may be names or a point: its column ${at + 1} is a number, not all others are`);
  }
  const from = hasName ? 1 : 0;
  return rows.slice(from).map((row, i) => numberIn(row[at] ?? "", 1 + from + i, at));
}

/** A number is never a name: the column of that number is meant. */
function columnOf(first: readonly string[], column: string | undefined): number {
  if (column === undefined) {
    if (first.length <= 1) return 0;
    throw refused(`it has ${first.length} columns: ${first.join(", ")}`);
  }
  const at = /^[1-9]\d*$/.test(column) ? Number(column) - 1 : first.indexOf(column);
  if (at >= 0 && at < first.length) return at;
  throw refused(`it has no column ${column} among ${first.length}`);
}

const isNumber = (cell: string) => cell !== "" && Number.isFinite(Number(cell));

function numberIn(cell: string, line: number, column: number): number {
  if (isNumber(cell)) return Number(cell);
  throw refused(`line ${line}, column ${column + 1}: ${JSON.stringify(cell)} is no number`);
}

function refused(problem: string, cause?: unknown): SluiceError {
  return new SluiceError("bad-request", `the series: ${problem}`, { remedy: REMEDY, cause });
}
